# Rucio's application, told by a header whose certificate a client showed, as Apache would.
from rucio.web.rest.main import application as rucio


def application(environ, start_response):
    name = environ.get("HTTP_X_TEST_CLIENT_NAME")
    if name:
        environ["SSL_CLIENT_S_DN"] = name
    return rucio(environ, start_response)
