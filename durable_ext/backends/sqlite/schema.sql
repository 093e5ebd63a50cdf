-- Version 1 of a hub file. Instants are ticks of 100 ns since year 1 (durable_ext.core.timestamps).
-- A change of this file needs a numbered file in migrations/ that leads from the version before to the same schema.

CREATE TABLE hub (
  task_hub TEXT NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL
);

-- One row per running worker process. Its locks die with it: when expires_at is past, anybody may take them over.
CREATE TABLE workers (
  worker_id INTEGER PRIMARY KEY AUTOINCREMENT,
  process_id INTEGER NOT NULL,
  machine TEXT NOT NULL,
  expires_at INTEGER NOT NULL
);

-- The instance row, the lock on it, and when it needs attention. status NULL: a mailbox without an instance (events to
-- something that was never started). Texts of 4 KB and more are in large_texts so that updates stay cheap.
CREATE TABLE instances (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  instance_id TEXT NOT NULL UNIQUE,
  is_entity INTEGER NOT NULL,
  lock_owner INTEGER,
  lock_token INTEGER NOT NULL,
  wake_at INTEGER,                -- of an unlocked instance: when to hand it out; NULL = nothing to do
  recovered INTEGER NOT NULL,     -- so many locks on it died with their owners in a row
  history_execution_id TEXT,
  status TEXT,
  execution_id TEXT,
  name TEXT,
  version TEXT,
  created_at INTEGER,
  last_updated_at INTEGER,
  completed_at INTEGER,
  scheduled_start_at INTEGER,
  generation INTEGER,
  tags TEXT,
  custom_status TEXT,
  input TEXT,
  output TEXT
);
CREATE INDEX ready_instances ON instances (is_entity, wake_at) WHERE lock_owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX locked_instances ON instances (lock_owner) WHERE lock_owner IS NOT NULL;

CREATE TABLE large_texts (
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,             -- input, output
  content TEXT NOT NULL,
  PRIMARY KEY (n, kind)
);

-- One row per checkpoint, not per event: a JSON array of events (durable_ext.codec.compact). Order is that of rowid.
CREATE TABLE history (
  position INTEGER PRIMARY KEY,
  n INTEGER NOT NULL,
  event_count INTEGER NOT NULL,
  events TEXT NOT NULL
);
CREATE INDEX history_of_instance ON history (n);

-- Task messages that no checkpoint has consumed. Who has the lock on the instance owns its messages.
CREATE TABLE messages (
  message_id INTEGER PRIMARY KEY AUTOINCREMENT,
  n INTEGER NOT NULL,
  due INTEGER NOT NULL,           -- 0 = at once
  event_type INTEGER NOT NULL,
  dequeue_count INTEGER NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX messages_of_instance ON messages (n);

CREATE TABLE activities (
  activity_id INTEGER PRIMARY KEY AUTOINCREMENT,
  n INTEGER NOT NULL,
  lock_owner INTEGER,
  visible_at INTEGER NOT NULL,
  dequeue_count INTEGER NOT NULL,
  body TEXT NOT NULL,
  deaths INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX open_activities ON activities (visible_at) WHERE lock_owner IS NULL;
CREATE INDEX locked_activities ON activities (lock_owner) WHERE lock_owner IS NOT NULL;
CREATE INDEX activities_of_instance ON activities (n);
