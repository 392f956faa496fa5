"""What AWS's errors mean to an organiser: one sentence and its mend. Pure functions."""

from __future__ import annotations

try:
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError
except ImportError:  # the module that uses this says that boto3 is missing
    boto = None

# Codes from https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and the STS and SSM references.
REFUSED = {
    "AuthFailure", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "MissingAuthenticationToken",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
MENDS = {
    "PendingVerification": "AWS is still validating the account for this region. It takes minutes, four hours at most: run this again then",
    "OptInRequired": "The account is not signed up for EC2, or the image has terms to accept: open EC2 and the image's page in the console",
}
HOW = '`aws configure`, `export AWS_PROFILE=...`, or for the rehearsal `eval "$(python -m rehearsal env)"`'


def code(error: Exception) -> str:
    """Return AWS's code of an error, or an empty string."""
    return response(error).get("Error", {}).get("Code", "")


def status(error: Exception) -> int:
    """Return the HTTP status of AWS's answer, 0 where there was none."""
    return response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def response(error: Exception) -> dict:
    """Return AWS's answer; errors of the connection have none, or None."""
    return getattr(error, "response", None) or {}


def is_lost(error: Exception) -> bool:
    """Tell whether a call may have been carried out although no answer came that could be read."""
    return isinstance(error, (boto.HTTPClientError, boto.ConnectionError, ResponseParserError))


def explain(error: Exception, endpoint: str) -> str:
    """Turn an error of boto3 into a sentence that says what to change; `endpoint` is the URL that was asked."""
    if isinstance(error, boto.ClientError):
        return _explain_answer(error)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return f"There are no AWS credentials. Type {HOW}."
    if isinstance(error, boto.ProfileNotFound):
        return f"{error}. Set AWS_PROFILE to one that `aws configure list-profiles` names, or `unset AWS_PROFILE`."
    if isinstance(error, (boto.SSOError, boto.TokenRetrievalError)):
        return f"The AWS single sign-on has ended ({error}). Type `aws sso login`."
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        return f"{endpoint} cannot be reached. Check the network and AWS_ENDPOINT_URL; for the rehearsal type `python -m rehearsal up`."
    return f"{endpoint} does not answer like AWS ({type(error).__name__}). Check AWS_ENDPOINT_URL."


def _explain_answer(error: boto.ClientError) -> str:
    message = error.response["Error"].get("Message", "")
    if code(error) in EXPIRED:
        return f"The AWS credentials have expired ({code(error)}). Get new ones: `aws sso login`, or the way you got these."
    if code(error) in REFUSED:
        return f"AWS does not know these credentials ({code(error)}). Check the keys: {HOW}."
    if code(error) in DENIED and "service control policy" in message:
        ask = "no permission of your own helps: ask whoever administers the organisation to allow it"
        return f"An organisation's policy forbids {error.operation_name} in this account; {ask}. AWS says: {message}"
    if code(error) in DENIED:
        return f"These credentials may not call {error.operation_name}: allow it in IAM. AWS says: {message}"
    if code(error) in MENDS:
        return f"{MENDS[code(error)]} ({code(error)})."
    return f"{error.operation_name} was refused: {message} ({code(error)})."
