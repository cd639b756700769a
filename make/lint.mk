# The linters are a module of their own, so that those who use the driver
# don't get to see what they depend on.
.PHONY: tools
tools: check-go
	@cd tools && GOFLAGS=-mod=readonly GOBIN=$(TOOLS) $(GO) install tool

# $(call lint-module,DIRECTORY,TAGS): a shell command that runs the linters on a
# module of its own.
lint-module = cd $(1); \
	export GOOS=linux; \
	$(GO) vet -tags '$(2)' ./...; \
	$(TOOLS)/staticcheck -tags '$(subst $(space),$(comma),$(2))' ./...; \
	GOFLAGS='-tags=$(subst $(space),$(comma),$(2))' $(TOOLS)/go-errorlint ./...; \
	$(TOOLS)/revive -config $(CURDIR)/tools/revive.toml -set_exit_status ./...

# The module's Go files, without what tests read as data.
GO_FILES = $(shell find . -name '*.go' -not -path '*/testdata/*' -not -path './$(BUILD)/*')

lint: tools programs
	GOOS=linux $(GO) vet -tags '$(TAGS)' ./...
	GOOS=linux $(GO) vet -tags '$(filter-out exclude_graphdriver_aufs,$(TAGS))' ./internal/bench ./internal/intree
	GOOS=linux $(GO) vet -tags 'ours $(TAGS)' ./internal/intree
	$(GO) run ./internal/port -check
	@echo gofmt, gofumpt, godot; \
	unformatted=$$(gofmt -l $(GO_FILES); $(TOOLS)/gofumpt -l $(GO_FILES)); \
	[ -z "$$unformatted" ] || { echo "not formatted by gofumpt:"; echo "$$unformatted"; exit 1; }; \
	findings=$$($(TOOLS)/godot $(GO_FILES)); \
	[ -z "$$findings" ] || { echo "$$findings"; exit 1; }
	GOOS=linux $(TOOLS)/staticcheck -tags '$(subst $(space),$(comma),$(TAGS))' ./...
	GOOS=linux GOFLAGS='-tags=$(subst $(space),$(comma),$(TAGS))' $(TOOLS)/go-errorlint ./...
	GOOS=linux $(TOOLS)/revive -config tools/revive.toml -set_exit_status ./...
	$(call lint-module,$(EXAMPLE),$(TAGS))
	$(call lint-module,$(IMAGETEST),$(IMAGETEST_TAGS))
	# What those who import the driver get with it.
	$(GO) test -count=1 ./internal/importers
	# What is generated from all that needs no more than this.
	cd $(PODMAN) && GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_EXAMPLE) && GOOS=linux $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_IMAGETEST) && GOOS=linux $(GO) vet -tags '$(PODMAN_IMAGETEST_TAGS)' ./...
