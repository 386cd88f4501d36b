PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES('833da8570507');
CREATE TABLE servers (
	id INTEGER NOT NULL,
	proto VARCHAR(15),
	ip VARCHAR(255),
	port INTEGER,
	base_url VARCHAR(255),
	cookie_name VARCHAR(255),
	CONSTRAINT pk_servers PRIMARY KEY (id)
);
INSERT INTO servers VALUES(1,'http','127.0.0.1',18701,'/user/alice/','cookie');
INSERT INTO servers VALUES(2,'http','127.0.0.1',18701,'/user/anna@epfl.ch/','cookie');
INSERT INTO servers VALUES(3,'http','127.0.0.1',18701,'/user/alice/gpu/','cookie');
CREATE TABLE roles (
	id INTEGER NOT NULL,
	name VARCHAR(255),
	description VARCHAR(1023),
	scopes TEXT,
	CONSTRAINT pk_roles PRIMARY KEY (id),
	CONSTRAINT uq_roles_name UNIQUE (name)
);
INSERT INTO roles VALUES(1,'user','Standard user privileges','["self"]');
INSERT INTO roles VALUES(2,'admin','Elevated privileges (can do anything)','["admin:users", "admin:servers", "tokens", "admin:groups", "list:services", "read:services", "read:hub", "proxy", "shutdown", "access:services", "access:servers", "read:roles", "read:metrics"]');
INSERT INTO roles VALUES(3,'server','Post activity only','["users:activity!user", "access:servers!user"]');
INSERT INTO roles VALUES(4,'token','Token with same permissions as its owner','["inherit"]');
INSERT INTO roles VALUES(5,'tester',NULL,'["admin:users", "admin:servers", "tokens", "admin:groups"]');
CREATE TABLE groups (
	id INTEGER NOT NULL,
	name VARCHAR(255),
	CONSTRAINT pk_groups PRIMARY KEY (id),
	CONSTRAINT uq_groups_name UNIQUE (name)
);
INSERT INTO "groups" VALUES(1,'lab');
INSERT INTO "groups" VALUES(2,'empty');
CREATE TABLE users (
	id INTEGER NOT NULL,
	name VARCHAR(255),
	admin BOOLEAN,
	created DATETIME,
	last_activity DATETIME,
	cookie_id VARCHAR(255) NOT NULL,
	state TEXT,
	encrypted_auth_state BLOB,
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT uq_users_name UNIQUE (name),
	CONSTRAINT uq_users_cookie_id UNIQUE (cookie_id)
);
INSERT INTO users VALUES(1,'ada',1,'2026-11-26 04:17:38.206315',NULL,'id-1',NULL,NULL);
INSERT INTO users VALUES(2,'anna@epfl.ch',0,'2026-11-26 04:17:38.525233','2026-11-26 04:17:42.613231','id-2','{}',NULL);
INSERT INTO users VALUES(3,'alice',0,'2026-11-26 04:17:38.527006','2026-11-26 04:17:43.533352','id-3','{}',NULL);
CREATE TABLE oauth_clients (
	id INTEGER NOT NULL,
	identifier VARCHAR(255),
	description VARCHAR(1023),
	secret VARCHAR(255),
	redirect_uri VARCHAR(1023),
	CONSTRAINT pk_oauth_clients PRIMARY KEY (id),
	CONSTRAINT uq_oauth_clients_identifier UNIQUE (identifier)
);
INSERT INTO oauth_clients VALUES(1,'jupyterhub','JupyterHub','','');
INSERT INTO oauth_clients VALUES(2,'jupyterhub-user-alice','Server at /user/alice/','sha512:1:1','/user/alice/oauth_callback');
INSERT INTO oauth_clients VALUES(3,'jupyterhub-user-anna%40epfl.ch','Server at /user/anna@epfl.ch/','sha512:1:2','/user/anna@epfl.ch/oauth_callback');
INSERT INTO oauth_clients VALUES(4,'jupyterhub-user-alice-gpu','Server at /user/alice/gpu/','sha512:1:3','/user/alice/gpu/oauth_callback');
CREATE TABLE user_role_map (
	user_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_user_role_map PRIMARY KEY (user_id, role_id),
	CONSTRAINT fk_user_role_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_user_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO user_role_map VALUES(1,2);
INSERT INTO user_role_map VALUES(1,1);
INSERT INTO user_role_map VALUES(3,1);
INSERT INTO user_role_map VALUES(2,1);
CREATE TABLE group_role_map (
	group_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_group_role_map PRIMARY KEY (group_id, role_id),
	CONSTRAINT fk_group_role_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE,
	CONSTRAINT fk_group_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
CREATE TABLE oauth_client_role_map (
	oauth_client_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_oauth_client_role_map PRIMARY KEY (oauth_client_id, role_id),
	CONSTRAINT fk_oauth_client_role_map_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (id) ON DELETE CASCADE,
	CONSTRAINT fk_oauth_client_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
CREATE TABLE user_group_map (
	user_id INTEGER NOT NULL,
	group_id INTEGER NOT NULL,
	CONSTRAINT pk_user_group_map PRIMARY KEY (user_id, group_id),
	CONSTRAINT fk_user_group_map_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_user_group_map_group_id_groups FOREIGN KEY(group_id) REFERENCES groups (id) ON DELETE CASCADE
);
INSERT INTO user_group_map VALUES(3,1);
INSERT INTO user_group_map VALUES(1,1);
CREATE TABLE spawners (
	id INTEGER NOT NULL,
	user_id INTEGER,
	server_id INTEGER,
	state TEXT,
	name VARCHAR(255),
	started DATETIME,
	last_activity DATETIME,
	user_options TEXT,
	oauth_client_id VARCHAR(255),
	CONSTRAINT pk_spawners PRIMARY KEY (id),
	CONSTRAINT fk_spawners_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_spawners_server_id_servers FOREIGN KEY(server_id) REFERENCES servers (id) ON DELETE SET NULL,
	CONSTRAINT fk_spawners_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO spawners VALUES(1,3,1,'{"object_id": "c0ffee", "object_name": "jupyter-alice"}','','2026-11-26 04:17:41.219678','2026-11-26 04:17:41.219678',NULL,'jupyterhub-user-alice');
INSERT INTO spawners VALUES(2,2,2,'{"object_id": "c0ffee", "object_name": "jupyter-anna-40epfl-2ech"}','','2026-11-26 04:17:42.613231','2026-11-26 04:17:42.613231',NULL,'jupyterhub-user-anna%40epfl.ch');
INSERT INTO spawners VALUES(3,3,3,'{"object_id": "c0ffee", "object_name": "jupyter-alice--gpu"}','gpu','2026-11-26 04:17:43.533352','2026-11-26 04:17:43.533352',NULL,'jupyterhub-user-alice-gpu');
CREATE TABLE services (
	id INTEGER NOT NULL,
	name VARCHAR(255),
	admin BOOLEAN,
	_server_id INTEGER,
	pid INTEGER,
	oauth_client_id VARCHAR(255),
	CONSTRAINT pk_services PRIMARY KEY (id),
	CONSTRAINT uq_services_name UNIQUE (name),
	CONSTRAINT fk_services__server_id_servers FOREIGN KEY(_server_id) REFERENCES servers (id) ON DELETE SET NULL,
	CONSTRAINT fk_services_oauth_client_id_oauth_clients FOREIGN KEY(oauth_client_id) REFERENCES oauth_clients (identifier) ON DELETE SET NULL
);
INSERT INTO services VALUES(1,'tester',0,NULL,NULL,NULL);
CREATE TABLE oauth_codes (
	id INTEGER NOT NULL,
	client_id VARCHAR(255),
	code VARCHAR(36),
	expires_at INTEGER,
	redirect_uri VARCHAR(1023),
	session_id VARCHAR(255),
	user_id INTEGER,
	CONSTRAINT pk_oauth_codes PRIMARY KEY (id),
	CONSTRAINT fk_oauth_codes_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE,
	CONSTRAINT fk_oauth_codes_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE TABLE service_role_map (
	service_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_service_role_map PRIMARY KEY (service_id, role_id),
	CONSTRAINT fk_service_role_map_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE,
	CONSTRAINT fk_service_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO service_role_map VALUES(1,5);
CREATE TABLE oauth_code_role_map (
	oauth_code_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_oauth_code_role_map PRIMARY KEY (oauth_code_id, role_id),
	CONSTRAINT fk_oauth_code_role_map_oauth_code_id_oauth_codes FOREIGN KEY(oauth_code_id) REFERENCES oauth_codes (id) ON DELETE CASCADE,
	CONSTRAINT fk_oauth_code_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
CREATE TABLE api_tokens (
	user_id INTEGER,
	service_id INTEGER,
	id INTEGER NOT NULL,
	hashed VARCHAR(255),
	prefix VARCHAR(16),
	client_id VARCHAR(255),
	session_id VARCHAR(255),
	created DATETIME,
	expires_at DATETIME,
	last_activity DATETIME,
	note VARCHAR(1023),
	CONSTRAINT pk_api_tokens PRIMARY KEY (id),
	CONSTRAINT fk_api_tokens_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT fk_api_tokens_service_id_services FOREIGN KEY(service_id) REFERENCES services (id) ON DELETE CASCADE,
	CONSTRAINT uq_api_tokens_hashed UNIQUE (hashed),
	CONSTRAINT fk_api_tokens_client_id_oauth_clients FOREIGN KEY(client_id) REFERENCES oauth_clients (identifier) ON DELETE CASCADE
);
INSERT INTO api_tokens VALUES(NULL,1,1,'sha512:1:4','0123','jupyterhub',NULL,'2026-11-26 04:17:39.562885',NULL,'2026-11-26 04:17:40.693559','from config');
INSERT INTO api_tokens VALUES(3,NULL,2,'sha512:1:5','446c','jupyterhub',NULL,'2026-11-26 04:17:40.924605',NULL,NULL,'Server at /user/alice/');
INSERT INTO api_tokens VALUES(2,NULL,3,'sha512:1:6','5ea1','jupyterhub',NULL,'2026-11-26 04:17:41.856594',NULL,NULL,'Server at /user/anna@epfl.ch/');
INSERT INTO api_tokens VALUES(3,NULL,4,'sha512:1:7','545b','jupyterhub',NULL,'2026-11-26 04:17:43.164219',NULL,NULL,'Server at /user/alice/gpu/');
INSERT INTO api_tokens VALUES(3,NULL,5,'sha512:1:8','ac8b','jupyterhub',NULL,'2026-11-26 04:17:43.769631',NULL,NULL,'mine');
CREATE TABLE api_token_role_map (
	api_token_id INTEGER NOT NULL,
	role_id INTEGER NOT NULL,
	CONSTRAINT pk_api_token_role_map PRIMARY KEY (api_token_id, role_id),
	CONSTRAINT fk_api_token_role_map_api_token_id_api_tokens FOREIGN KEY(api_token_id) REFERENCES api_tokens (id) ON DELETE CASCADE,
	CONSTRAINT fk_api_token_role_map_role_id_roles FOREIGN KEY(role_id) REFERENCES roles (id) ON DELETE CASCADE
);
INSERT INTO api_token_role_map VALUES(1,4);
INSERT INTO api_token_role_map VALUES(2,3);
INSERT INTO api_token_role_map VALUES(3,3);
INSERT INTO api_token_role_map VALUES(4,3);
INSERT INTO api_token_role_map VALUES(5,4);
CREATE INDEX ix_api_tokens_prefix ON api_tokens (prefix);
COMMIT;
