"""What the pre-flight check says and decides, without a cloud."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.classroom.gpu.plugins.filter import classroom as filters
from ansible_collections.classroom.gpu.plugins.module_utils.classroom import settings
from ansible_collections.classroom.gpu.plugins.module_utils.common.table import table
from ansible_collections.classroom.gpu.plugins.module_utils.ec2 import errors as ec2_errors
from botocore import exceptions

URL = "https://ec2.us-west-2.amazonaws.com"


def answer(code: str) -> exceptions.ClientError:
    """An error that AWS answered with."""
    return exceptions.ClientError({"Error": {"Code": code, "Message": "why"}}, "GetCallerIdentity")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NoCredentialsError(), "There are no AWS credentials."),
        (exceptions.ProfileNotFound(profile="x"), "Set AWS_PROFILE"),
        (exceptions.EndpointConnectionError(endpoint_url=URL), f"{URL} cannot be reached."),
        (exceptions.ConnectTimeoutError(endpoint_url=URL), f"{URL} cannot be reached."),
        (exceptions.SSOTokenLoadError(error_msg="x"), "Type `aws sso login`."),
        (ValueError("Invalid endpoint"), f"{URL} does not answer like AWS"),
        (answer("InvalidClientTokenId"), "AWS does not know these credentials (InvalidClientTokenId)."),
        (answer("SignatureDoesNotMatch"), "AWS does not know these credentials"),
        (answer("AuthFailure"), "AWS does not know these credentials"),
        (answer("ExpiredToken"), "The AWS credentials have expired (ExpiredToken)."),
        (answer("RequestExpired"), "The AWS credentials have expired"),
        (answer("UnauthorizedOperation"), "may not call GetCallerIdentity: allow it in IAM."),
        (answer("Something"), "GetCallerIdentity was refused: why (Something)."),
    ],
)
def test_errors_in_an_organisers_words(error: Exception, words: str) -> None:
    sentence = ec2_errors.explain(error, URL)
    assert words in sentence and "\n" not in sentence


def test_what_the_organisation_forbids_is_not_to_be_allowed_in_iam() -> None:
    message = "You are not authorized to perform this operation. ... with an explicit deny in a service control policy."
    error = exceptions.ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": message}}, "RunInstances")
    sentence = ec2_errors.explain(error, URL)
    assert sentence.startswith(
        "An organisation's policy forbids RunInstances in this account; no permission of your own helps: ask whoever"
    )
    assert "IAM" not in sentence


@pytest.mark.parametrize(
    ("only", "seats", "wrong"), [("", ["s01", "s02"], 0), ("s02", ["s02"], 0), ("s02,s09,s08", ["s02", "s09", "s08"], 1)]
)
def test_choose(only: str, seats: list[str], wrong: int) -> None:
    problems: list[str] = []
    assert settings.choose(only, ["s01", "s02"], "the roster", problems) == seats
    assert len(problems) == wrong


PAST, SOON, LATER = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2099-06-01T00:00:00Z"


@pytest.mark.parametrize(
    ("ends", "planned", "setting", "until", "moved", "says"),
    [
        (SOON, SOON, SOON, "", False, ""),
        (LATER, SOON, SOON, "", False, ""),  # moved by extend.yml: it stays
        (PAST, SOON, SOON, "", False, "The end of s01 is past. Move it: `ansible-playbook playbooks/extend.yml -e ends=20:00 -e seats"),
        (PAST, PAST, SOON, "", True, ""),  # the next day of the class
        (LATER, LATER, SOON, "", True, ""),
        (SOON, SOON, PAST, "", True, "which is past: s01 would stop at once."),
        (LATER, PAST, PAST, "", False, ""),  # moved beyond what the settings still say
        ("never", "never", "never", "", False, ""),
        ("", "", SOON, "", True, ""),  # launched by an earlier version
        ("", SOON, SOON, "", True, ""),  # a tag that somebody spoilt
        (SOON, PAST, LATER, "20:00", True, ""),
        (LATER, PAST, LATER, "20:00", False, ""),
    ],
)
def test_what_was_said_last_is_the_end(ends: str, planned: str, setting: str, until: str, moved: bool, says: str) -> None:
    problems: list[str] = []
    params = {"classroom": "x", "until": until, "ends": "as set"}
    found = {"ends": setting, "missing": [], "existing": [{"seat": "s01", "ends": ends, "planned": planned}]}
    found["moved"] = settings.moved(found, params)
    settings.check_past(found, params, problems)
    assert (found["moved"], len(problems)) == (["s01"] if moved else [], bool(says))
    assert says in " ".join(problems)


def test_own_network_names_the_page_and_the_setting() -> None:
    assert filters.own_network("192.0.2.7\n", "http://page") == "192.0.2.7/32"
    with pytest.raises(AnsibleFilterError, match="http://page .* classroom_access_address_source"):
        filters.own_network("<html>", "http://page")


def test_stack_digest_follows_names_and_contents(tmp_path) -> None:
    (tmp_path / "environment.yml").write_text("a")
    first = filters.stack_digest(str(tmp_path))
    assert filters.stack_digest(str(tmp_path)) == first
    (tmp_path / "environment.yml").write_text("b")
    second = filters.stack_digest(str(tmp_path))
    (tmp_path / "environment.yml").rename(tmp_path / "other.yml")
    assert len({first, second, filters.stack_digest(str(tmp_path))}) == 3


def test_table_is_aligned() -> None:
    assert table([("seat", "next"), ("spare-a", "x"), ("s1", "")]) == ["seat     next", "spare-a  x", "s1"]
