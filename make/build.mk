# The driver works only on Linux. On other systems it must compile, and return an error that
# says so. On arm an int has 32 bits. One file of a test's package depends on the processor.
.PHONY: build-all
build-all: export CGO_ENABLED := 0
build-all: check-go programs ## Build for other platforms
	for module in . $(EXAMPLE); do \
		(cd $$module; GOOS=linux GOARCH=arm $(GO) build -o /dev/null -tags '$(TAGS)' ./...); \
		(cd $$module; GOOS=windows $(GO) build -o /dev/null -tags '$(TAGS)' ./...; GOOS=windows $(GO) vet -tags '$(TAGS)' ./...); \
	done
	GOARCH=arm64 $(GO) vet ./internal/faults
	cd $(IMAGETEST) && $(GO) build -tags '$(IMAGETEST_TAGS)' ./... && $(GO) vet -tags '$(IMAGETEST_TAGS)' ./...
	cd $(SECOND) && GOARCH=arm $(GO) build -tags '$(PODMAN_TAGS)' .
	cd $(SECOND) && GOOS=windows $(GO) build -tags '$(PODMAN_TAGS)' .
	cd $(PODMAN_EXAMPLE) && GOOS=windows $(GO) build -o /dev/null -tags '$(PODMAN_TAGS)' .

# The programs of the podman module: its example, and its tests with real images.
.PHONY: programs
programs: check-go
	@$(GO) run ./internal/port -build $(BUILD)/podman

.PHONY: podman-demo
podman-demo: check-go programs ## Run the example program of the podman module, as root
	@cd $(PODMAN_EXAMPLE) && CGO_ENABLED=0 $(GO) build -tags '$(PODMAN_TAGS)' -o $(CURDIR)/$(BUILD)/podman-example .
	@$(BUILD)/podman-example $(DEMO_ARGS)

.PHONY: clean
clean: ## Remove all that was built
	rm -rf $(BUILD)
