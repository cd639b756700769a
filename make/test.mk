# $(call podman-test,VERSION): the beginning of a shell command that runs tests of
# the podman module with another version of the storage library. $(call
# name-storage,VERSION) adds the version to the names of packages in the report.
podman-test = $(GO) test -modfile=modfiles/$(1).mod -count=1 -json -timeout $(TEST_TIMEOUT) -tags '$(PODMAN_NEWER_TAGS)'
name-storage = sed 's|"Package":"github.com/seed-642172e2/aufs/podman|&@$(1)|'

# The tests with a real image run without the race detector. They copy layers in
# parallel, and the race detector then reports the storage library's LockFile.
#
# A program with the race detector sleeps for a second before it exits. GORACE turns
# that off, because the tests start a program for each archive.
#
# The tests of one package use one processor of two, so packages run side by side. As
# root, each package has a mount namespace of its own: otherwise a test that copies the
# namespace would also copy mounts of another package, and keep its layers busy. On aufs
# the tests look for leftover xino files of any program, so there the packages run one
# after the other.
#
# Not every kernel has project quotas. "make vmtest-stock" runs the tests of quotas on
# one that has.
#
# Only what the race detector needs is built with cgo. "make demo" and the virtual machine
# do without it as well, so Go compiles the standard library once less.
#
# The tests of the driver take the longest, and go first. Those of ALONE run without the
# race detector: they have a program do one thing, many times, and with the race detector
# a program takes long to start.
#
# -count=1 avoids cached results, because the cache does not depend on the kernel. The
# tests find out which backends this host has. They fail on a host without overlay, where
# they would test nothing.
ALONE := TestDeniedCalls|TestErrorTexts|TestImageFileWithManyNames|TestInterrupted|TestMemoryOfAnArchive|TestMigration
# The packages that have them.
ALONE_PACKAGES = $$(grep -rlE --include=*_test.go --exclude-dir=$(BUILD) --exclude-dir=$(SECOND) '^func ($(ALONE))\(' . | xargs dirname | sort -u)
test: check-go test-deps programs $(if $(filter $(OWN_IMAGE),$(IMAGE)),image)
	export CGO_ENABLED=0; \
	$(GO) vet -tags '$(TAGS)' ./...; \
	(cd $(EXAMPLE) && $(GO) vet -tags '$(TAGS)' ./...); \
	(cd $(IMAGETEST) && $(GO) vet -tags '$(IMAGETEST_TAGS)' ./...); \
	(cd $(SECOND) && $(GO) vet -tags '$(PODMAN_TAGS)' ./...); \
	(cd $(PODMAN_EXAMPLE) && $(GO) vet -tags '$(PODMAN_TAGS)' ./...); \
	(cd $(PODMAN_IMAGETEST) && $(GO) vet -tags '$(PODMAN_IMAGETEST_TAGS)' ./...)
	@$(GO) build -o $(BUILD)/testreport ./internal/testreport/cmd
	@modprobe -q aufs 2>/dev/null || true; \
	args=(-noskip overlay -maymiss 'this kernel has no project quotas'); \
	grep -qw aufs /proc/filesystems || \
		args+=(-absent 'aufs=the kernel of this host has no aufs ("make vmtest" runs the tests on one that has)'); \
	unset AUFS_TEST_BACKENDS; \
	export RAPID_CHECKS=$(SEQUENCES) AUFS_TEST_STEPS=$(STEPS) AUFS_TEST_STRESS=$(STRESS) AUFS_TEST_IMAGE=$(IMAGE) GORACE=atexit_sleep_ms=0; \
	set -x; \
	{ \
		status=0; apart=(); \
		[ "$$(id -u)" != 0 ] || apart=(-exec 'unshare -m'); \
		! grep -qw aufs /proc/filesystems || apart+=(-p 1); \
		$(call go-test,$(TAGS)) "$${apart[@]}" -race -skip '^($(ALONE))$$' ./internal/drivertest ./... >$(BUILD)/first.json & first=$$!; \
		! grep -qw aufs /proc/filesystems || wait $$first || status=$$?; \
		CGO_ENABLED=0 $(call go-test,$(TAGS)) "$${apart[@]}" -run '^($(ALONE))$$' $(ALONE_PACKAGES) || status=$$?; \
		(cd $(EXAMPLE) && CGO_ENABLED=0 $(call go-test,$(TAGS)) "$${apart[@]}" ./...) || status=$$?; \
		(cd $(PODMAN_EXAMPLE) && CGO_ENABLED=0 $(call go-test,$(PODMAN_TAGS)) "$${apart[@]}" ./...) || status=$$?; \
		cd $(SECOND); \
		export CGO_ENABLED=0; \
		$(call go-test,$(PODMAN_TAGS)) "$${apart[@]}" ./... || status=$$?; \
		$(call podman-test,$(STORAGE)) "$${apart[@]}" . | $(call name-storage,$(STORAGE)) || status=$$?; \
		$(call podman-test,$(NEWEST_STORAGE)) "$${apart[@]}" . | $(call name-storage,$(NEWEST_STORAGE)) || status=$$?; \
		cd ..; \
		wait $$first || status=$$?; \
		cat $(BUILD)/first.json; \
		$(if $(IMAGE),(cd $(IMAGETEST) && $(call go-test,$(IMAGETEST_TAGS)) ./...) || status=$$?; \
			(cd $(PODMAN_IMAGETEST) && $(call go-test,$(PODMAN_IMAGETEST_TAGS)) ./...) || status=$$?;,\
			echo 'The tests with a real image are left out: IMAGE is empty.' >&2;) \
		exit $$status; \
	} | $(BUILD)/testreport $(if $(VERBOSE),-v) "$${args[@]}"

# $(call go-test,TAGS): the beginning of a shell command that runs tests.
go-test = $(GO) test -count=1 -json -timeout $(TEST_TIMEOUT) -tags '$(1)'

# Many random sequences, all interruptions, and a longer stress. "make vmtest
# RUN='TestDifferential|TestInterrupted|TestStress' SEQUENCES=1000 STEPS=all
# STRESS=5m TIMEOUT=4h" does the same on another kernel.
#: soak   [SOAK_SEQUENCES=1000] [SOAK_STRESS=5m] [SOAK_INPUTS=100000] [SOAK_NAMES=1000000] [SOAK_MOVES=100]
.PHONY: soak
soak: TEST_TIMEOUT := 4h
soak: check-go ## Run what is random in the tests for long, as root
	$(MAKE) fuzz INPUTS=$(SOAK_INPUTS)
	@$(GO) build -o $(BUILD)/testreport ./internal/testreport/cmd
	@unset AUFS_TEST_BACKENDS; \
	export RAPID_CHECKS=$(SOAK_SEQUENCES) AUFS_TEST_STRESS=$(SOAK_STRESS) AUFS_TEST_NAMES=$(SOAK_NAMES); \
	set -x; \
	{ \
		status=0; \
		AUFS_TEST_STEPS=all $(call go-test,$(TAGS)) -p 1 \
			-run 'TestDifferential$$|TestInterrupted$$|TestDeniedCalls|TestStress|TestManyNames' . ./internal/core/... ./internal/drivertest || status=$$?; \
		(cd $(EXAMPLE) && AUFS_TEST_STEPS=$(SOAK_MOVES) $(call go-test,$(TAGS)) -run '^TestMove' .) || status=$$?; \
		exit $$status; \
	} | $(BUILD)/testreport -v -noskip overlay -maymiss 'this kernel has no project quotas'

# The storage libraries have end-to-end tests of their own, for bats. STORAGE_BACKEND is
# the driver's option backend. With KERNEL they run on another kernel, in QEMU.
STORAGE_LIBRARIES ?= github.com/containers/storage@v1.59.1 go.podman.io/storage@$(NEWEST_STORAGE)
STORAGE_BACKEND ?= auto
STORAGE_TESTS ?= *.bats
# $(call storagetest,PROGRAM,DIRECTORY): a shell command that runs the tests of $$library. The
# directory is that of all copies.
storagetest = $(1) -library $$library -backend '$(STORAGE_BACKEND)' -tests '$(value STORAGE_TESTS)' -dir $(2)/$${library\#\#*@}
#: storagetest [STORAGE_LIBRARIES="MODULE@VERSION ..."] [STORAGE_BACKEND=auto|aufs|overlay] [STORAGE_TESTS=*.bats] [KERNEL=bzImage for amd64, and as vmtest]
.PHONY: storagetest
storagetest: check-go ## Run the storage libraries' own tests with this driver and with overlay, as root
	@need=; \
	$(call missing,command -v bats,bats); \
	$(call missing,command -v jq,jq); \
	$(call missing,command -v pkill,procps); \
	$(call missing,command -v bzip2,bzip2); \
	$(call missing,command -v xz,xz-utils); \
	$(call missing,command -v zstd,zstd); \
	$(call missing,echo '#include <stdlib.h>' | gcc -E -,gcc libc6-dev); \
	$(install-missing)
	@CGO_ENABLED=0 $(GO) build -o $(BUILD)/storagetest ./internal/storagetest
	@$(if $(KERNEL),$(MAKE) --no-print-directory system-deps)
	@status=0; for library in $(STORAGE_LIBRARIES); do \
		$(if $(KERNEL),$(storagetest-on-kernel),$(call storagetest,$(BUILD)/storagetest,$(BUILD)/storagetests)) || status=$$?; \
	done; exit $$status

# The part of the copy that the tests need goes into the virtual machine.
define storagetest-on-kernel
{ \
	$(call storagetest,$(BUILD)/storagetest -norun,$(BUILD)/storagetests) && \
	there=$(BUILD)/storagetest-vm/storagetests/$${library##*@} && \
	rm -rf $(BUILD)/storagetest-vm && mkdir -p $$there && \
	cp $(BUILD)/storagetest $(BUILD)/storagetest-vm/ && \
	cp -r $(BUILD)/storagetests/$${library##*@}/{tests,containers-storage} $$there && \
	$(call run-in-system,$(BUILD)/storagetest-vm,"$(call storagetest,/storagetest -nobuild,/storagetests)"); \
}
endef

# INPUTS is how many random inputs each fuzz target gets. FuzzArchive gets a hundredth
# of that: it makes and applies an archive, which takes as long as a hundred inputs of
# another target. A test program can run one target at a time. An input that fails is
# kept in the package's testdata/fuzz, and is a test from then on.
#
# The fuzzer makes each input that reaches new code smaller. "smaller" limits the tries.
# Without this limit, the fuzzer tries for a minute with each such input, and slow
# targets do nothing else in that time.
#
# The end is a number of inputs, and not a time: up to Go 1.26, a worker whose time
# ends at the wrong moment fails the target ("context deadline exceeded",
# https://go.dev/issue/75804).
INPUTS ?= 3000
.PHONY: fuzz
fuzz: check-go ## Try random inputs, as root
	@dirs=$$(grep -rl --include='*_test.go' --exclude-dir=$(SECOND) --exclude-dir=$(BUILD) '^func Fuzz' . | xargs dirname | sort -u); \
	for dir in $$dirs; do \
		$(GO) test -c -o $(BUILD)/fuzz.test -tags '$(TAGS)' -fuzz . $$dir; \
		for target in $$(grep -ho '^func Fuzz[A-Za-z]*' $$dir/*_test.go | cut -d ' ' -f 2); do \
			echo $$dir $$target; \
			inputs=$(INPUTS) smaller=1000; \
			[ $$target != FuzzArchive ] || inputs=$$((inputs / 100)) smaller=10; \
			(cd $$dir && $(CURDIR)/$(BUILD)/fuzz.test -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime $${inputs}x -test.fuzzminimizetime $${smaller}x \
				-test.timeout $(TEST_TIMEOUT) -test.fuzzcachedir $(CURDIR)/$(BUILD)/fuzz/$$dir); \
		done; \
	done
