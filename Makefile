# "make" or "make help" lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Even with -j, the targets of ci run one after the other.
.NOTPARALLEL:
.DELETE_ON_ERROR:

# A line that begins with "#: " lists the settings of a target.
.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@sed -n 's/^#: //p' $(MAKEFILE_LIST)

# The commands are in make/test.mk.
.PHONY: test
test: ## Run the tests; as root, or most are skipped

#: demo   [DEMO_ARGS="..."]
.PHONY: demo
demo: check-go ## Run the example program, as root
	@cd $(EXAMPLE) && CGO_ENABLED=0 $(GO) build -tags '$(TAGS)' -o $(CURDIR)/$(BUILD)/example .
	@$(BUILD)/example $(DEMO_ARGS)

# The commands are in make/lint.mk.
.PHONY: lint
lint: ## Run the linters

# It tries fewer random cases than "make test", to take no more than ten minutes.
.PHONY: ci
ci: SEQUENCES := 6
ci: STEPS := 1
ci: STRESS := 1s
ci: STORAGE_LIBRARIES = go.podman.io/storage@$(NEWEST_STORAGE)
# Files that begin with i, l and n take most of the time: layers.bats,
# idmaps.bats and names.bats.
ci: STORAGE_TESTS = [^iln]*.bats
ci: format test demo podman-demo storagetest vmtest-stock ## Run what continuous integration runs on each change

.PHONY: check
check: lint build-all fuzz ci ## Run all that must pass before a release

include make/settings.mk # Build tags, directories, and what can be set.
include make/deps.mk     # What has to be installed.
include make/test.mk     # Tests and fuzzing on this host.
include make/image.mk    # The image for the tests.
include make/vm.mk       # Tests on another kernel, in QEMU.
include make/system.mk   # A Debian system for programs of others.
include make/bench.mk    # Benchmarks, here and in QEMU.
include make/lint.mk     # The linters, and what is generated.
include make/build.mk    # Other platforms, the other module's example, cleaning up.
