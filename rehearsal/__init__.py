"""The rehearsal cloud: a local EC2 API in front of real hosts, on one Linux machine.

`python -m rehearsal` is its only door. What differs from EC2, and why, is in docs/rehearsal.md.
"""

ACCOUNT = "123456789012"
REGION = "us-west-2"
API_PORT = 5555
API_URL = f"http://127.0.0.1:{API_PORT}"
EXPIRED_KEY = "AKIAREHEARSALEXPIRED"
