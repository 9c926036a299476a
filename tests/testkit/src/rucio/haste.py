from sqlalchemy import event
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "connect")
def no_waiting_for_disks(connection, _record):
    connection.execute("PRAGMA synchronous = OFF")
