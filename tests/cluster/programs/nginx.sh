#!/bin/sh
# nginx with a certificate of its own making.
set -eu
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=web -keyout /tmp/key.pem -out /tmp/cert.pem
exec nginx -c /programs/nginx.conf
