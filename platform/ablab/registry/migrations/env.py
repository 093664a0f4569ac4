"""Run by alembic: migrate on the caller's connection and in the caller's transaction."""

from alembic import context

from ablab.registry.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's too: the driver begins nothing by itself, see `database.connect_sqlite`
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
