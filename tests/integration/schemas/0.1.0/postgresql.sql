CREATE TABLE meta (
	name VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY (name)
);
CREATE TABLE keys (
	id VARCHAR(40) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	previous_hash VARCHAR(64), 
	previous_until_at BIGINT, 
	hint VARCHAR(16) NOT NULL, 
	scopes VARCHAR(64) NOT NULL, 
	quota JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	last_used_at BIGINT, 
	revoked_at BIGINT, 
	CONSTRAINT pk_keys PRIMARY KEY (id), 
	CONSTRAINT uq_keys_hash UNIQUE (hash), 
	CONSTRAINT uq_keys_previous_hash UNIQUE (previous_hash)
);
CREATE TABLE contents (
	sha256 VARCHAR(64) NOT NULL, 
	kind VARCHAR(8) NOT NULL, 
	size BIGINT NOT NULL, 
	entries JSON NOT NULL, 
	data BYTEA, 
	blob_key VARCHAR(200), 
	touched_at BIGINT NOT NULL, 
	CONSTRAINT pk_contents PRIMARY KEY (sha256)
);
CREATE INDEX ix_contents_touched_at ON contents (touched_at);
CREATE TABLE idempotency (
	key_id VARCHAR(40) NOT NULL, 
	idempotency_key VARCHAR(255) NOT NULL, 
	request_hash VARCHAR(64) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (key_id, idempotency_key)
);
CREATE INDEX ix_idempotency_job_id ON idempotency (job_id);
CREATE INDEX ix_idempotency_created_at ON idempotency (created_at);
CREATE TABLE webhooks (
	id VARCHAR(40) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	url TEXT NOT NULL, 
	description TEXT NOT NULL, 
	events JSON NOT NULL, 
	secret VARCHAR(128) NOT NULL, 
	active BOOLEAN NOT NULL, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (id)
);
CREATE INDEX ix_webhooks_key_id ON webhooks (key_id);
CREATE TABLE deliveries (
	id VARCHAR(40) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	webhook_id VARCHAR(40), 
	job_id VARCHAR(40), 
	event VARCHAR(64) NOT NULL, 
	lane VARCHAR(128) NOT NULL, 
	url TEXT NOT NULL, 
	secret VARCHAR(128) NOT NULL, 
	payload TEXT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	history JSON NOT NULL, 
	attempt INTEGER NOT NULL, 
	next_at BIGINT, 
	created_at BIGINT NOT NULL, 
	finished_at BIGINT, 
	CONSTRAINT pk_deliveries PRIMARY KEY (id)
);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX ix_deliveries_created_at ON deliveries (created_at);
CREATE INDEX ix_deliveries_webhook_id ON deliveries (webhook_id);
CREATE INDEX ix_deliveries_status_next_at ON deliveries (status, next_at);
CREATE INDEX ix_deliveries_key_id_id ON deliveries (key_id, id);
CREATE TABLE usage (
	key_id VARCHAR(40) NOT NULL, 
	day VARCHAR(10) NOT NULL, 
	jobs BIGINT NOT NULL, 
	succeeded BIGINT NOT NULL, 
	cpu_s FLOAT NOT NULL, 
	run_s FLOAT NOT NULL, 
	CONSTRAINT pk_usage PRIMARY KEY (key_id, day)
);
CREATE TABLE workers (
	id VARCHAR(40) NOT NULL, 
	node VARCHAR(64) NOT NULL, 
	concurrency INTEGER NOT NULL, 
	started_at BIGINT NOT NULL, 
	seen_at BIGINT NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
CREATE TABLE scripts (
	id VARCHAR(40) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	runtime VARCHAR(64) NOT NULL, 
	entry TEXT NOT NULL, 
	content_sha VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	file_count INTEGER NOT NULL, 
	labels JSON NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_scripts PRIMARY KEY (id), 
	CONSTRAINT fk_scripts_content_sha FOREIGN KEY(content_sha) REFERENCES contents (sha256)
);
CREATE INDEX ix_scripts_content_sha ON scripts (content_sha);
CREATE INDEX ix_scripts_key_id_id ON scripts (key_id, id);
CREATE INDEX ix_scripts_created_at ON scripts (created_at);
CREATE TABLE jobs (
	id VARCHAR(40) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	script_id VARCHAR(40), 
	rerun_of VARCHAR(40), 
	name VARCHAR(200), 
	runtime VARCHAR(64) NOT NULL, 
	entry TEXT NOT NULL, 
	content_sha VARCHAR(64) NOT NULL, 
	files_sha VARCHAR(64), 
	stdin_sha VARCHAR(64), 
	spec JSON NOT NULL, 
	labels JSON NOT NULL, 
	webhook JSON, 
	priority INTEGER NOT NULL, 
	fair_order BIGINT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason VARCHAR(32), 
	message TEXT, 
	exit_code INTEGER, 
	signal INTEGER, 
	attempt INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	losses INTEGER NOT NULL, 
	worker_id VARCHAR(40), 
	lease_until_at BIGINT, 
	cancel_at BIGINT, 
	available_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	claimed_at BIGINT, 
	started_at BIGINT, 
	ended_at BIGINT, 
	finished_at BIGINT, 
	metrics JSON, 
	stdout_bytes BIGINT NOT NULL, 
	stderr_bytes BIGINT NOT NULL, 
	storage_bytes BIGINT NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_content_sha FOREIGN KEY(content_sha) REFERENCES contents (sha256), 
	CONSTRAINT fk_jobs_files_sha FOREIGN KEY(files_sha) REFERENCES contents (sha256), 
	CONSTRAINT fk_jobs_stdin_sha FOREIGN KEY(stdin_sha) REFERENCES contents (sha256)
);
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_jobs_stdin_sha ON jobs (stdin_sha);
CREATE INDEX ix_jobs_worker_id ON jobs (worker_id);
CREATE INDEX ix_jobs_key_id_id ON jobs (key_id, id);
CREATE INDEX ix_jobs_queue ON jobs (status, priority DESC, fair_order, id);
CREATE INDEX ix_jobs_content_sha ON jobs (content_sha);
CREATE INDEX ix_jobs_script_id ON jobs (script_id);
CREATE INDEX ix_jobs_fairness ON jobs (key_id, status, priority, fair_order);
CREATE INDEX ix_jobs_files_sha ON jobs (files_sha);
CREATE TABLE attempts (
	job_id VARCHAR(40) NOT NULL, 
	attempt INTEGER NOT NULL, 
	worker_id VARCHAR(40) NOT NULL, 
	claimed_at BIGINT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	outcome VARCHAR(32) NOT NULL, 
	message TEXT, 
	CONSTRAINT pk_attempts PRIMARY KEY (job_id, attempt), 
	CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE results (
	job_id VARCHAR(40) NOT NULL, 
	attempt INTEGER NOT NULL, 
	log BYTEA, 
	log_key VARCHAR(200), 
	log_bytes BIGINT NOT NULL, 
	stdout BYTEA, 
	stderr BYTEA, 
	compile JSON, 
	compile_output JSON, 
	CONSTRAINT pk_results PRIMARY KEY (job_id), 
	CONSTRAINT fk_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE artifacts (
	id VARCHAR(40) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	path TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	blob_key VARCHAR(200) NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_artifacts PRIMARY KEY (id), 
	CONSTRAINT fk_artifacts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX ix_artifacts_created_at ON artifacts (created_at);
CREATE INDEX ix_artifacts_job_id ON artifacts (job_id);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001');
INSERT INTO contents (sha256, kind, size, entries, data, blob_key, touched_at) VALUES ('x', 'x', 1, '{}', NULL, 'x', 1);
INSERT INTO deliveries (id, key_id, webhook_id, job_id, event, lane, url, secret, payload, status, history, attempt, next_at, created_at, finished_at) VALUES ('x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', '{}', 1, 1, 1, 1);
INSERT INTO idempotency (key_id, idempotency_key, request_hash, job_id, created_at) VALUES ('x', 'x', 'x', 'x', 1);
INSERT INTO keys (id, name, hash, previous_hash, previous_until_at, hint, scopes, quota, created_at, expires_at, last_used_at, revoked_at) VALUES ('x', 'x', 'x', 'x', 1, 'x', 'x', '{}', 1, 1, 1, 1);
INSERT INTO meta (name, value) VALUES ('x', 'x');
INSERT INTO usage (key_id, day, jobs, succeeded, cpu_s, run_s) VALUES ('x', 'x', 1, 1, 1, 1);
INSERT INTO webhooks (id, key_id, url, description, events, secret, active, created_at, updated_at) VALUES ('x', 'x', 'x', 'x', '{}', 'x', true, 1, 1);
INSERT INTO workers (id, node, concurrency, started_at, seen_at) VALUES ('x', 'x', 1, 1, 1);
INSERT INTO jobs (id, key_id, script_id, rerun_of, name, runtime, entry, content_sha, files_sha, stdin_sha, spec, labels, webhook, priority, fair_order, status, reason, message, exit_code, signal, attempt, failures, losses, worker_id, lease_until_at, cancel_at, available_at, created_at, claimed_at, started_at, ended_at, finished_at, metrics, stdout_bytes, stderr_bytes, storage_bytes) VALUES ('x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', '{}', '{}', '{}', 1, 1, 'x', 'x', 'x', 1, 1, 1, 1, 1, 'x', 1, 1, 1, 1, 1, 1, 1, 1, '{}', 1, 1, 1);
INSERT INTO scripts (id, key_id, name, runtime, entry, content_sha, size, file_count, labels, created_at) VALUES ('x', 'x', 'x', 'x', 'x', 'x', 1, 1, '{}', 1);
INSERT INTO artifacts (id, job_id, path, size, sha256, blob_key, created_at) VALUES ('x', 'x', 'x', 1, 'x', 'x', 1);
INSERT INTO attempts (job_id, attempt, worker_id, claimed_at, ended_at, outcome, message) VALUES ('x', 1, 'x', 1, 1, 'x', 'x');
INSERT INTO results (job_id, attempt, log, log_key, log_bytes, stdout, stderr, compile, compile_output) VALUES ('x', 1, NULL, 'x', 1, NULL, NULL, '{}', '{}');
