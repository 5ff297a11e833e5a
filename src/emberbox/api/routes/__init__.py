"""The addresses of the API: each module has a `router`, and is listed in `emberbox.api.app.ROUTERS`."""
