"""The Service Quotas API over the vCPU quotas; moto knows a few of VPC's, and has no requests.

https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/Welcome.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from moto.core.exceptions import JsonRESTError
from moto.servicequotas.responses import ServiceQuotasResponse

from rehearsal import ACCOUNT

from .quotas import FAMILIES, Family, Increase, Quotas

if TYPE_CHECKING:
    from .cloud import Cloud

EC2 = {"ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)"}
PAGE = 100
# "Only the default value is available": the message is empty (github.com/aws/aws-cli/issues/6629).
NOTHING = ("NoSuchResourceException", "")
NO_SERVICE = ("NoSuchResourceException", "The request failed because the specified service does not exist.")
# github.com/hashicorp/terraform-provider-aws/issues/19657
TWICE = ("ResourceAlreadyExistsException", "Only one open service quota increase request is allowed per quota.")
# github.com/cloud-custodian/cloud-custodian/pull/8939
TOO_LITTLE = ("IllegalArgumentException", "You must provide a quota value greater than the current quota value")


def install(cloud: Cloud) -> None:
    """Answer for EC2's quotas; what moto knows of other services stays."""
    for answer in (
        get_service_quota,
        get_aws_default_service_quota,
        list_service_quotas,
        list_aws_default_service_quotas,
        request_service_quota_increase,
        list_requested_service_quota_change_history,
        list_requested_service_quota_change_history_by_quota,
        get_requested_service_quota_change,
    ):
        _install(cloud, answer)


def _install(cloud: Cloud, answer: Callable[[Quotas, str, dict[str, Any]], dict[str, Any]]) -> None:
    original = getattr(ServiceQuotasResponse, answer.__name__, None)

    def respond(self: Any) -> str:
        asked = json.loads(self.body)
        if asked.get("ServiceCode", "ec2") == "ec2":
            return json.dumps(answer(cloud.limits.quotas, self.region, asked))
        if original is None:
            raise JsonRESTError(*NO_SERVICE)
        return original(self)

    setattr(ServiceQuotasResponse, answer.__name__, respond)


def get_service_quota(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    family = _family(asked)
    value = quotas.value(region, family)
    if value is None:
        raise JsonRESTError(*NOTHING)
    return {"Quota": _quota(region, family, value)}


def get_aws_default_service_quota(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    family = _family(asked)
    return {"Quota": _quota(region, family, family.default)}


def list_service_quotas(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    values = [(family, quotas.value(region, family)) for family in FAMILIES if asked.get("QuotaCode", family.code) == family.code]
    return _page("Quotas", [_quota(region, family, value) for family, value in values if value is not None], asked)


def list_aws_default_service_quotas(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    return _page("Quotas", [_quota(region, family, family.default) for family in FAMILIES], asked)


def request_service_quota_increase(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    family = _family(asked)
    if quotas.open_increase(region, family):
        raise JsonRESTError(*TWICE)
    if asked["DesiredValue"] <= quotas.limit(region, family):
        raise JsonRESTError(*TOO_LITTLE)
    return {"RequestedQuota": _change(quotas.request(region, family, asked["DesiredValue"]))}


def list_requested_service_quota_change_history(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = [one for one in quotas.increases if one.region == region and asked.get("Status", one.status) == one.status]
    return _page("RequestedQuotas", [_change(one) for one in reversed(found)], asked)


def list_requested_service_quota_change_history_by_quota(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    mine = Quotas(increases=[one for one in quotas.increases if one.family is _family(asked)])
    return list_requested_service_quota_change_history(mine, region, asked)


def get_requested_service_quota_change(quotas: Quotas, region: str, asked: dict[str, Any]) -> dict[str, Any]:
    found = next((one for one in quotas.increases if (one.region, one.id) == (region, asked["RequestId"])), None)
    if found is None:
        raise JsonRESTError(*NOTHING)
    return {"RequestedQuota": _change(found)}


def _family(asked: dict[str, Any]) -> Family:
    found = next((family for family in FAMILIES if family.code == asked["QuotaCode"]), None)
    if found is None:
        raise JsonRESTError(*NOTHING)
    return found


def _page(key: str, items: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]:
    """Return one page: MaxResults items after those that NextToken says."""
    first, many = int(asked.get("NextToken", 0)), asked.get("MaxResults", PAGE)
    rest = {"NextToken": str(first + many)} if first + many < len(items) else {}
    return {key: items[first : first + many], **rest}


def _about(region: str, family: Family) -> dict[str, Any]:
    return {
        **EC2,
        "QuotaCode": family.code,
        "QuotaName": family.title,
        "QuotaArn": f"arn:aws:servicequotas:{region}:{ACCOUNT}:ec2/{family.code}",
        "Unit": "None",
        "GlobalQuota": False,
    }


def _quota(region: str, family: Family, value: float) -> dict[str, Any]:
    return {**_about(region, family), "Value": value, "Adjustable": True, "QuotaAppliedAtLevel": "ACCOUNT"}


def _change(increase: Increase) -> dict[str, Any]:
    return {
        **_about(increase.region, increase.family),
        "Id": increase.id,
        "DesiredValue": increase.desired,
        "Status": increase.status,
        "Created": increase.created,
        "LastUpdated": increase.updated,
        "Requester": json.dumps({"accountId": ACCOUNT}),
        "QuotaRequestedAtLevel": "ACCOUNT",
    }
