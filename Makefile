# "make" or "make help" lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The targets of ci are to run one after the other, with -j as well.
.NOTPARALLEL:
.DELETE_ON_ERROR:

# Build tags for all that is built here, and for programs that use this
# driver. Without the first one the storage library has an aufs driver of its
# own, which claims the same name. Without the second one its btrfs driver
# needs headers of C.
TAGS := exclude_graphdriver_aufs exclude_graphdriver_btrfs
# The tests with real images are a module of their own, so that the driver
# does not depend on what they do. This tag does without a library of C.
IMAGETEST := internal/imagetest
IMAGETEST_TAGS := $(TAGS) containers_image_openpgp
# So is the example program, which has a progress bar.
EXAMPLE := example
# The same driver for go.podman.io/storage is a module of its own. Its go.mod has
# the oldest version of that library that it is for; it is tested with others as
# well, for which podman/modfiles has what go.mod would be: all of it with one,
# and the library's own tests of drivers with the newest.
PODMAN := podman
PODMAN_TAGS := $(filter-out exclude_graphdriver_aufs,$(TAGS))
PODMAN_EXAMPLE := $(PODMAN)/$(EXAMPLE)
PODMAN_IMAGETEST := $(PODMAN)/$(IMAGETEST)
PODMAN_IMAGETEST_TAGS := $(PODMAN_TAGS) containers_image_openpgp
STORAGE := v1.64.2
NEWEST_STORAGE := v1.65.0
comma := ,
space := $(subst ,, )

# The least Go version to work on all of this with, 1.MIN_GO. The drivers build
# with less: see their go.mod.
MIN_GO := 26

GO ?= go
TEST_TIMEOUT ?= 20m
# How many random sequences the differential test runs on each backend: in
# tests, and in a soak.
SEQUENCES ?= 25
SOAK_SEQUENCES ?= 1000
# In how many ways, chosen at random, each operation is interrupted by a kill,
# by a call that fails, and by a power cut, and how many system calls are
# forbidden to all operations: a number, 0 for none, or all.
STEPS ?= 2
# How long the stress tests are, each on each backend.
STRESS ?= 5s
SOAK_STRESS ?= 5m
SOAK_INPUTS ?= 100000
# How many files there are in one directory.
SOAK_NAMES ?= 1000000
# Benchmarks: which, by a regular expression; how long each is in each round;
# how many rounds there are; full, medium or small; and a directory on the file
# system under test.
BENCH ?=
BENCHTIME ?= 300ms
COUNT ?= 6
SIZE ?= full
BENCHDIR ?= /var/tmp
PROFILE ?=
# Arguments of the example program.
DEMO_ARGS ?=

# All that is built goes here, and nothing of it is kept in the repository.
BUILD := build
TOOLS := $(CURDIR)/$(BUILD)/tools
# An image, made of Debian packages; another one, or none, may be said.
OWN_IMAGE := $(CURDIR)/$(BUILD)/image
IMAGE := $(OWN_IMAGE)
override IMAGE := $(abspath $(IMAGE))
# Debian's own kernel, unpacked.
STOCK := $(BUILD)/stock

# What build-all builds for, beside the host that runs the tests. The driver works
# on Linux alone; elsewhere the packages have to compile, and to say so.
PLATFORMS := linux/arm64 windows/amd64

# The module's Go files, without what tests read as data.
GO_FILES = $(shell find . -name '*.go' -not -path '*/testdata/*' -not -path './$(BUILD)/*')

# $(call missing,COMMAND,PACKAGE): a shell command that notes a Debian package
# if COMMAND fails.
missing = { $(1); } >/dev/null 2>&1 || need+=' $(2)'
# Installs the packages that were noted.
define install-missing
if [ -n "$$need" ]; then \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "Missing, by the names of Debian's packages:$$need" >&2; exit 1; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get -qq update >&2; \
	apt-get -qq -y --no-install-recommends install $$need >&2; \
fi
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'vmtest KERNEL=bzImage [FS=ext4|xfs|btrfs|tmpfs] [BACKENDS="aufs overlay"] [RUN=regexp]'
	@echo '       [LIBRARIES="containers podman"] [MODULES=directory] [AUPLINK=program] [IMAGE=] [SEQUENCES=25] [SEED=0] [STEPS=2|all] [STRESS=5s] [TIMEOUT=60m] [MEM=2G] [CORES=2] [DISK=4G] [ACCEL=tcg|kvm] [KEEP=1] [VERBOSE=1]'
	@echo 'bench  [BENCH=regexp] [BENCHTIME=300ms] [COUNT=6] [SIZE=full|medium|small] [BENCHDIR=/var/tmp] [PROFILE=yes]'
	@echo 'vmbench KERNEL=bzImage, and the settings of bench and vmtest'
	@echo 'soak   [SOAK_SEQUENCES=1000] [SOAK_STRESS=5m] [SOAK_INPUTS=100000] [SOAK_NAMES=1000000]'
	@echo 'demo   [DEMO_ARGS="..."]'

# With less that is random, for it is to take no more than ten minutes.
.PHONY: ci
ci: SEQUENCES := 12
ci: STEPS := 1
ci: STRESS := 3s
ci: lint build-all test demo podman-demo fuzz vmtest-stock ## All that must pass before a change is taken

.PHONY: check-go
check-go:
	@command -v $(GO) >/dev/null || { echo 'Go is not installed; 1.$(MIN_GO) or newer is needed.' >&2; exit 1; }
	@version=$$($(GO) env GOVERSION); \
	if [[ $$version =~ ^go1\.([0-9]+) ]] && (( BASH_REMATCH[1] < $(MIN_GO) )); then \
		echo "Go 1.$(MIN_GO) or newer is needed, and this is $$version." >&2; exit 1; \
	fi

# The race detector needs a C compiler, the tests unshare.
.PHONY: test-deps
test-deps:
	@need=; \
	$(call missing,echo '#include <stdlib.h>' | gcc -E -,gcc libc6-dev); \
	$(call missing,command -v unshare,util-linux); \
	$(install-missing)

# $(call download,DIRECTORY,PACKAGES): a shell command that downloads Debian
# packages as files, and installs nothing. As root apt-get would do it as a user
# of its own, who need not be able to read the directory.
download = rm -rf $(1) && mkdir -p $(1) && cd $(1) && apt-get -qq -o APT::Sandbox::User=root download $(2)

.PHONY: image
image: $(OWN_IMAGE)/index.json ## Make an image of Debian packages, for the tests
$(OWN_IMAGE)/index.json: $(wildcard $(IMAGETEST)/mklayout/* $(IMAGETEST)/layout/*)
	@need=; \
	$(call missing,command -v apt-get,apt); \
	$(call missing,command -v dpkg-deb,dpkg); \
	$(install-missing)
	cd $(IMAGETEST) && $(GO) build -o $(CURDIR)/$(BUILD)/mklayout -tags '$(IMAGETEST_TAGS)' ./mklayout
	@[ "$$(id -u)" != 0 ] || apt-get -qq update >&2
	$(call download,$(BUILD)/debs,$$($(CURDIR)/$(BUILD)/mklayout -list))
	$(BUILD)/mklayout -debs $(BUILD)/debs -out $(OWN_IMAGE)

# $(call podman-test,VERSION): the beginning of a shell command that runs tests of
# the podman module with another version of the storage library. In the report
# the version is a part of the packages' names.
podman-test = $(GO) test -modfile=modfiles/$(1).mod -count=1 -json -timeout $(TEST_TIMEOUT) -tags '$(PODMAN_TAGS)'
name-storage = sed 's|"Package":"github.com/seed-642172e2/aufs/podman|&@$(1)|'

# The tests with a real image go without the race detector. It finds the storage
# library's LockFile at fault as soon as layers are copied side by side, which
# is what is to be tested.
#
# A program with the race detector sleeps for a second before it ends, and each
# archive is unpacked in one: GORACE says not to.
#
# The tests of a module leave one of two processors idle, so those of the two modules run side by side, each in a mount namespace of its own: a
# namespace that a test makes would have copies of the other's mounts, which keep layers busy. On aufs they look for
# xino files that are left, wherever these are from, and run one after the other.
#
# Results are not taken from the cache, which knows nothing of the kernel.
# The tests find out themselves which backends this host has. A host without
# overlay is no place to run them: nothing would be tested.
.PHONY: test
test: check-go test-deps $(if $(filter $(OWN_IMAGE),$(IMAGE)),image) ## Run the tests; as root, or most are skipped
	$(GO) vet -tags '$(TAGS)' ./...
	cd $(EXAMPLE) && $(GO) vet -tags '$(TAGS)' ./...
	cd $(IMAGETEST) && $(GO) vet -tags '$(IMAGETEST_TAGS)' ./...
	cd $(PODMAN) && $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_EXAMPLE) && $(GO) vet -tags '$(PODMAN_TAGS)' ./...
	cd $(PODMAN_IMAGETEST) && $(GO) vet -tags '$(PODMAN_IMAGETEST_TAGS)' ./...
	@$(GO) build -o $(BUILD)/testreport ./internal/testreport/cmd
	@modprobe -q aufs 2>/dev/null || true; \
	args=(-noskip overlay); \
	grep -qw aufs /proc/filesystems || \
		args+=(-absent 'aufs=the kernel of this host has no aufs ("make vmtest" runs the tests on one that has)'); \
	unset AUFS_TEST_BACKENDS; \
	export RAPID_CHECKS=$(SEQUENCES) AUFS_TEST_STEPS=$(STEPS) AUFS_TEST_STRESS=$(STRESS) AUFS_TEST_IMAGE=$(IMAGE) GORACE=atexit_sleep_ms=0; \
	set -x; \
	{ \
		status=0; apart=(); \
		[ "$$(id -u)" != 0 ] || apart=(unshare -m); \
		"$${apart[@]}" $(call go-test,$(TAGS)) -race ./... >$(BUILD)/first.json & first=$$!; \
		! grep -qw aufs /proc/filesystems || wait $$first || status=$$?; \
		(cd $(EXAMPLE) && $(call go-test,$(TAGS)) -race ./...) || status=$$?; \
		(cd $(PODMAN_EXAMPLE) && CGO_ENABLED=0 $(call go-test,$(PODMAN_TAGS)) ./...) || status=$$?; \
		cd $(PODMAN); \
		export CGO_ENABLED=0; \
		$(call go-test,$(PODMAN_TAGS)) ./... || status=$$?; \
		$(call podman-test,$(STORAGE)) ./... | $(call name-storage,$(STORAGE)) || status=$$?; \
		$(call podman-test,$(NEWEST_STORAGE)) -run TestGraph . | $(call name-storage,$(NEWEST_STORAGE)) || status=$$?; \
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
.PHONY: soak
soak: check-go ## Run what is random in the tests for long, as root
	$(MAKE) fuzz INPUTS=$(SOAK_INPUTS)
	@$(GO) build -o $(BUILD)/testreport ./internal/testreport/cmd
	env -u AUFS_TEST_BACKENDS RAPID_CHECKS=$(SOAK_SEQUENCES) AUFS_TEST_STEPS=all AUFS_TEST_STRESS=$(SOAK_STRESS) AUFS_TEST_NAMES=$(SOAK_NAMES) \
		$(GO) test -p 1 -count=1 -json -timeout 4h -tags '$(TAGS)' -run 'TestDifferential$$|TestInterrupted$$|TestDeniedCalls|TestStress|TestManyNames' . ./internal/core/... | \
		$(BUILD)/testreport -v -noskip overlay

# What has to hold for any input, with so many inputs each; an archive is made and
# applied, and takes as long as a hundred of the others. A test program can do one
# target at a time; what fails is kept in its package's testdata/fuzz, and is a
# test from then on.
#
# The end is a number of inputs, and not a time: up to Go 1.26, a worker whose time
# ends at the wrong moment fails the target ("context deadline exceeded",
# https://go.dev/issue/75804).
INPUTS ?= 3000
.PHONY: fuzz
fuzz: check-go ## Try random inputs, as root
	@dirs=$$(grep -rl --include='*_test.go' --exclude-dir=$(PODMAN) --exclude-dir=$(BUILD) '^func Fuzz' . | xargs dirname | sort -u); \
	for dir in $$dirs; do \
		$(GO) test -c -o $(BUILD)/fuzz.test -tags '$(TAGS)' -fuzz . $$dir; \
		for target in $$(grep -ho '^func Fuzz[A-Za-z]*' $$dir/*_test.go | cut -d ' ' -f 2); do \
			echo $$dir $$target; \
			inputs=$(INPUTS); \
			[ $$target != FuzzArchive ] || inputs=$$((inputs / 100)); \
			(cd $$dir && $(CURDIR)/$(BUILD)/fuzz.test -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime $${inputs}x \
				-test.timeout $(TEST_TIMEOUT) -test.fuzzcachedir $(CURDIR)/$(BUILD)/fuzz/$$dir); \
		done; \
	done

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

.PHONY: lint
lint: tools ## Run the linters
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

.PHONY: build-all
build-all: export CGO_ENABLED := 0
build-all: check-go ## Build and vet for all platforms
	@for platform in $(PLATFORMS); do \
		echo "build and vet for $$platform"; \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		for module in . $(EXAMPLE); do \
			(cd $$module; $(GO) build -o /dev/null -tags '$(TAGS)' ./...; $(GO) vet -tags '$(TAGS)' ./...); \
		done; \
	done
	cd $(IMAGETEST) && $(GO) build -tags '$(IMAGETEST_TAGS)' ./... && $(GO) vet -tags '$(IMAGETEST_TAGS)' ./...
	cd $(PODMAN) && GOARCH=arm64 $(GO) build -tags '$(PODMAN_TAGS)' .
	cd $(PODMAN) && GOOS=windows $(GO) build -tags '$(PODMAN_TAGS)' .
	cd $(PODMAN_EXAMPLE) && GOOS=windows $(GO) build -o /dev/null -tags '$(PODMAN_TAGS)' .

.PHONY: demo
demo: check-go ## Run the example program, as root
	@cd $(EXAMPLE) && CGO_ENABLED=0 $(GO) build -tags '$(TAGS)' -o $(CURDIR)/$(BUILD)/example .
	@$(BUILD)/example $(DEMO_ARGS)

.PHONY: podman-demo
podman-demo: check-go ## Run the example program of the podman module, as root
	@cd $(PODMAN_EXAMPLE) && CGO_ENABLED=0 $(GO) build -tags '$(PODMAN_TAGS)' -o $(CURDIR)/$(BUILD)/podman-example .
	@$(BUILD)/podman-example $(DEMO_ARGS)

# How sure benchstat can be that the median is between the least and the most
# of so many rounds; it takes that as its range.
confidence = $(or $(if $(filter 1 2,$(COUNT)),0.5),$(if $(filter 3,$(COUNT)),0.75),$(if $(filter 4,$(COUNT)),0.87),$(if $(filter 5,$(COUNT)),0.93),0.95)
# $(call bench-table,NAME): a shell command that makes a table of the results.
bench-table = $(TOOLS)/benchstat -format csv -confidence $(confidence) -col /driver $(BUILD)/$(1).txt 2>$(BUILD)/$(1).warnings | \
	$(BUILD)/benchtable -out $(BUILD)/$(1).md && echo 'This table is in $(BUILD)/$(1).md, and what it is made of in $(BUILD)/$(1).txt.'

# $(call bench-profiles,NAME): what of each CPU profile of the last round is in system calls, and in which. PROFILE=yes asks for it.
bench-profiles = $(if $(PROFILE),for profile in $(BUILD)/$(1)-profiles/*.prof; do $(GO) tool pprof -top -nodecount=20 \
	-focus='[sS]yscall6?$$|[vV]fork' -show='^(golang.org/x/sys/unix|internal/syscall/unix|syscall)\.[A-Za-z0-9]*$$' -hide='[sS]yscall6?$$' $$profile; done,true)
bench-profiles-flag = $(if $(PROFILE),-profiles $(BUILD)/$(1)-profiles)
bench-profiles-dir = $(if $(PROFILE),rm -rf $(BUILD)/$(1)-profiles && mkdir -p $(BUILD)/$(1)-profiles,true)

.PHONY: bench-tools
bench-tools: check-go
	@cd tools && GOFLAGS=-mod=readonly GOBIN=$(TOOLS) $(GO) install golang.org/x/perf/cmd/benchstat
	@$(GO) build -o $(BUILD)/benchtable ./internal/bench/table

# Two drivers claim the name aufs, so there are two programs. What failed does
# not keep the rest from being shown.
.PHONY: bench
bench: bench-tools ## Measure this driver and others side by side, as root
	@modprobe -q aufs 2>/dev/null || true
	@CGO_ENABLED=0 $(GO) test -c -o $(BUILD)/bench-ours -tags '$(TAGS)' ./internal/bench
	@CGO_ENABLED=0 $(GO) test -c -o $(BUILD)/bench-intree -tags '$(filter-out exclude_graphdriver_aufs,$(TAGS))' ./internal/bench
	@$(GO) build -o $(BUILD)/benchrun ./internal/bench/run
	@status=0; \
	$(call bench-profiles-dir,bench); \
	$(BUILD)/benchrun -out $(BUILD)/bench.txt -dir '$(BENCHDIR)' -bench '$(value BENCH)' -benchtime '$(BENCHTIME)' -count '$(COUNT)' -size '$(SIZE)' \
		$(call bench-profiles-flag,bench) $(BUILD)/bench-ours $(BUILD)/bench-intree || status=$$?; \
	$(call bench-table,bench); \
	$(call bench-profiles,bench); \
	exit $$status

# Settings of vmtest. They are set here, and not with ?=, for variables of the
# environment with such common names are nobody's settings.
KERNEL =
MODULES =
AUPLINK =
FS = ext4
SEED = 0
BACKENDS = aufs overlay
LIBRARIES = containers podman
RUN =
TIMEOUT = 90m
MEM = 2G
CORES = 2
DISK = 4G
ACCEL = tcg
KEEP =
VERBOSE =

.PHONY: vmtest-deps
vmtest-deps:
	@need=; \
	$(call missing,command -v qemu-system-x86_64,qemu-system-x86); \
	$(call missing,[ -x /bin/busybox ] && ! ldd /bin/busybox,busybox-static); \
	case '$(FS)' in \
	ext4) $(call missing,[ -x /sbin/mkfs.ext4 ],e2fsprogs) ;; \
	xfs) $(call missing,[ -x /sbin/mkfs.xfs ],xfsprogs) ;; \
	btrfs) $(call missing,[ -x /sbin/mkfs.btrfs ],btrfs-progs) ;; \
	esac; \
	$(install-missing)

.PHONY: vmtest
vmtest: check-go ## Run the tests and the example on another kernel, in QEMU
	@[ -f '$(KERNEL)' ] || { echo 'No kernel: say KERNEL=path/to/bzImage (it is "$(KERNEL)").' >&2; exit 1; }
	@$(MAKE) --no-print-directory vmtest-deps $(if $(filter $(OWN_IMAGE),$(IMAGE)),image) FS='$(FS)'
	@$(GO) build -o $(BUILD)/vmtest ./internal/vmtest
	@exec $(BUILD)/vmtest -kernel '$(KERNEL)' -modules '$(MODULES)' -auplink '$(AUPLINK)' -image '$(IMAGE)' -fs '$(FS)' -backends '$(BACKENDS)' -libraries '$(LIBRARIES)' -run '$(value RUN)' \
		-sequences '$(SEQUENCES)' -seed '$(SEED)' -steps '$(STEPS)' -stress '$(STRESS)' -timeout '$(TIMEOUT)' -mem '$(MEM)' -cores '$(CORES)' -disk '$(DISK)' -accel '$(ACCEL)' \
		$(if $(KEEP),-keep) $(if $(VERBOSE),-v)

# In an emulated machine this takes half an hour, and SIZE=medium a third of that. The disk grows as it is written to.
.PHONY: vmbench
vmbench: BACKENDS = aufs
vmbench: COUNT = 3
vmbench: BENCHTIME = 200ms
vmbench: TIMEOUT = 3h
vmbench: MEM = 3G
vmbench: DISK = 12G
vmbench: bench-tools ## Measure this driver and others on another kernel, in QEMU
	@[ -f '$(KERNEL)' ] || { echo 'No kernel: say KERNEL=path/to/bzImage (it is "$(KERNEL)").' >&2; exit 1; }
	@$(MAKE) --no-print-directory vmtest-deps FS='$(FS)'
	@$(GO) build -o $(BUILD)/vmtest ./internal/vmtest
	@status=0; \
	$(call bench-profiles-dir,vmbench); \
	$(BUILD)/vmtest -kernel '$(KERNEL)' -modules '$(MODULES)' -auplink '$(AUPLINK)' -fs '$(FS)' -backends '$(BACKENDS)' -timeout '$(TIMEOUT)' \
		-mem '$(MEM)' -cores '$(CORES)' -disk '$(DISK)' -accel '$(ACCEL)' $(if $(KEEP),-keep) $(call bench-profiles-flag,vmbench) \
		-bench $(BUILD)/vmbench.txt -run '$(value BENCH)' -benchtime '$(BENCHTIME)' -count '$(COUNT)' -size '$(SIZE)' || status=$$?; \
	$(call bench-table,vmbench); \
	$(call bench-profiles,vmbench); \
	exit $$status

# The kernel that Debian's package linux-image-amd64 depends on. It is not
# installed.
$(STOCK)/kernel.deb:
	@need=; \
	$(call missing,command -v apt-get,apt); \
	$(install-missing)
	@[ "$$(id -u)" != 0 ] || apt-get -qq update >&2
	$(call download,$(STOCK),\
		$$(apt-cache depends linux-image-amd64 | awk '$$1 == "Depends:" && $$2 ~ /^linux-image-/ { print $$2; exit }'))
	dpkg-deb --extract $(STOCK)/linux-image-*.deb $(STOCK)
	mv $(STOCK)/linux-image-*.deb $@

# It has overlayfs and no aufs. That it runs tests shows that the harness works,
# where there is no kernel with aufs. They are those in which kernels differ most;
# "make test" does all of them on the host.
STOCK_RUN := TestGraph|TestOverlay|TestForm|TestConvert|TestStack|TestInit|TestCheck
.PHONY: vmtest-stock
vmtest-stock: $(STOCK)/kernel.deb ## Run the tests on Debian's own kernel, in QEMU
	@$(MAKE) --no-print-directory vmtest KERNEL="$$(echo $(STOCK)/boot/vmlinuz-*)" MODULES=$(STOCK)/lib/modules \
		BACKENDS=overlay LIBRARIES=containers RUN='$(STOCK_RUN)' SEQUENCES=3 STEPS=0 STRESS=1s IMAGE=

.PHONY: clean
clean: ## Remove all that was built
	rm -rf $(BUILD)
