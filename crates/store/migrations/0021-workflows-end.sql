-- Workflows that ended long ago are found without a look at all of them.
CREATE INDEX workflow_ended ON workflow (modified, id) WHERE due IS NULL;
