# The linters are a module of their own, so that programs with the driver do not depend on
# the modules of the linters.
.PHONY: tools
tools: check-go
	@cd tools && GOFLAGS=-mod=readonly GOBIN=$(TOOLS) $(GO) install tool

# $(call golangci,DIRECTORY,TAGS,ARGUMENTS): a shell command that runs the linters
# of .golangci.yml on a module. Some types, and with them some "nolint" comments,
# depend on the architecture. So all hosts lint for the same one.
golangci = cd $(1) && CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(TOOLS)/golangci-lint run --build-tags '$(subst $(space),$(comma),$(2))' $(3)

# These checks need no linters: gofmt, and whether podman/ is up to date.
.PHONY: format
format: check-go
	@stale=$$(find . -name '*.go' -not -path './$(BUILD)/*' -exec "$$($(GO) env GOROOT)/bin/gofmt" -l {} +); \
		[ -z "$$stale" ] || { echo "gofmt has changes for $$stale" >&2; exit 1; }
	$(GO) run ./internal/port -check

# The podman modules are generated, except for a few files: go vet, and the check of
# comments, are enough for them.
lint: tools programs format
	$(TOOLS)/golangci-lint fmt --diff
	$(call golangci,.,$(TAGS),./...)
	$(call golangci,.,$(filter-out exclude_graphdriver_aufs,$(TAGS)),./internal/bench ./internal/intree)
	$(call golangci,.,ours $(TAGS),./internal/intree)
	$(call golangci,$(EXAMPLE),$(TAGS),./...)
	$(call golangci,$(IMAGETEST),$(IMAGETEST_TAGS),./...)
	# The modules that importers of the driver get.
	$(GO) test -count=1 ./internal/importers
	cd $(SECOND) && CGO_ENABLED=0 GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_EXAMPLE) && CGO_ENABLED=0 GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_IMAGETEST) && CGO_ENABLED=0 GOOS=linux $(GO) vet -tags '$(PODMAN_IMAGETEST_TAGS)' ./...
	$(call golangci,$(SECOND),$(PODMAN_TAGS),--enable-only=godot ./...)
