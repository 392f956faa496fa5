"""The EC2 API: moto in this process, made truthful about hosts, credentials and what it does not implement."""
