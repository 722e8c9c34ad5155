-- Run once by PostgreSQL's image, in a new cluster; each server makes its tables itself.
CREATE DATABASE prefect;
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
