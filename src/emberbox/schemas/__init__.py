"""What crosses the wire: the requests and answers of the API, which the client reads as well."""
