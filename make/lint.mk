# The linters are a module of their own, so that programs with the driver do not depend on
# the modules of the linters.
.PHONY: tools
tools: check-go
	@cd tools && GOFLAGS=-mod=readonly GOBIN=$(TOOLS) $(GO) install tool

# $(call golangci,DIRECTORY,SYSTEM,TAGS,ARGUMENTS): a shell command that runs the linters
# of .golangci.yml on a module. Some types, and with them some "nolint" comments,
# depend on the architecture. So all hosts lint for the same one.
golangci = cd $(1) && GOOS=$(2) GOARCH=amd64 $(TOOLS)/golangci-lint run --build-tags '$(subst $(space),$(comma),$(3))' $(4)

# The podman modules are generated, except for a few files: go vet, and the check of
# comments, are enough for them.
lint: tools programs
	$(GO) run ./internal/port -check
	$(TOOLS)/golangci-lint fmt --diff
	$(call golangci,.,linux,$(TAGS),./...)
	$(call golangci,.,linux,$(filter-out exclude_graphdriver_aufs,$(TAGS)),./internal/bench ./internal/intree)
	$(call golangci,.,linux,ours $(TAGS),./internal/intree)
	$(call golangci,$(EXAMPLE),linux,$(TAGS),./...)
	$(call golangci,$(IMAGETEST),linux,$(IMAGETEST_TAGS),./...)
	# Functions that only Linux needs are unused here. "make build-all" runs go vet.
	$(call golangci,.,windows,$(TAGS),--enable-only=godot$(comma)revive ./...)
	$(call golangci,$(EXAMPLE),windows,$(TAGS),--enable-only=godot$(comma)revive ./...)
	# The modules that importers of the driver get.
	$(GO) test -count=1 ./internal/importers
	cd $(PODMAN) && GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_EXAMPLE) && GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_IMAGETEST) && GOOS=linux $(GO) vet -tags '$(PODMAN_IMAGETEST_TAGS)' ./...
	$(call golangci,$(PODMAN),linux,$(PODMAN_TAGS),--enable-only=godot ./...)
