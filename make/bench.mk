# BENCH is a regular expression of benchmarks. BENCHTIME is how long each one runs in
# each of COUNT rounds. SIZE is full, medium or small. BENCHDIR is a directory on the file
# system under test. PROFILE=yes makes CPU profiles. CGO=yes builds the programs
# with cgo, which the overlay driver needs for quotas. DOCS=yes writes the table to
# docs/performance.md; a variable DOCS of the environment does not.
BENCH ?=
BENCHTIME ?= 300ms
COUNT ?= 6
SIZE ?= full
BENCHDIR ?= /var/tmp
PROFILE ?=
CGO ?=
DOCS =

# The confidence that the median lies between the least and the greatest of COUNT
# results. With it, benchstat prints these two as the range.
confidence = $(or $(if $(filter 1 2,$(COUNT)),0.5),$(if $(filter 3,$(COUNT)),0.75),$(if $(filter 4,$(COUNT)),0.87),$(if $(filter 5,$(COUNT)),0.93),0.95)
# $(call bench-table,NAME): a shell command that prints the results as a table.
bench-table = $(TOOLS)/benchstat -format csv -confidence $(confidence) -col /driver $(BUILD)/$(1).txt 2>$(BUILD)/$(1).warnings | \
	$(BUILD)/benchtable -out $(BUILD)/$(1).md && echo 'This table is in $(BUILD)/$(1).md, and what it is made of in $(BUILD)/$(1).txt.'

# $(call bench-docs,NAME): a shell command that writes the table to docs/performance.md,
# between the lines "<!-- begin NAME -->" and "<!-- end NAME -->".
bench-docs = awk -v table=$(BUILD)/$(1).md '\
	$$0 == "<!-- end $(1) -->" { inside = 0; ends++ } \
	!inside { print } \
	$$0 == "<!-- begin $(1) -->" { inside = 1; begins++; while ((getline line <table) > 0) print line } \
	END { exit !(begins == 1 && ends == 1 && !inside) }' docs/performance.md >$(BUILD)/performance.md && \
	cp $(BUILD)/performance.md docs/performance.md && echo 'This table is in docs/performance.md as well.' || \
	{ echo 'docs/performance.md has not both lines, <!-- begin $(1) --> and <!-- end $(1) -->, once.' >&2; false; }

# $(call bench-profiles,NAME): a shell command that prints how much of each CPU profile of
# the last round is in which system calls.
bench-profiles = $(if $(PROFILE),for profile in $(BUILD)/$(1)-profiles/*.prof; do $(GO) tool pprof -top -nodecount=20 \
	-focus='[sS]yscall6?$$|[vV]fork' -show='^(golang.org/x/sys/unix|internal/syscall/unix|syscall)\.[A-Za-z0-9]*$$' -hide='[sS]yscall6?$$' $$profile; done,true)
bench-profiles-flag = $(if $(PROFILE),-profiles $(BUILD)/$(1)-profiles)
bench-profiles-dir = $(if $(PROFILE),rm -rf $(BUILD)/$(1)-profiles && mkdir -p $(BUILD)/$(1)-profiles,true)

.PHONY: bench-tools
bench-tools: check-go
	@cd tools && GOFLAGS=-mod=readonly GOBIN=$(TOOLS) $(GO) install golang.org/x/perf/cmd/benchstat
	@$(GO) build -o $(BUILD)/benchtable ./internal/bench/table

# Two drivers claim the name aufs, so there are two programs, and a third for what only
# the second module's library has. The results are shown even
# if some of the benchmarks fail.
#: bench  [BENCH=regexp] [BENCHTIME=300ms] [COUNT=6] [SIZE=full|medium|small] [BENCHDIR=/var/tmp] [PROFILE=yes] [CGO=yes] [DOCS=yes]
.PHONY: bench
bench: bench-tools ## Measure this driver and others side by side, as root
	@modprobe -q aufs 2>/dev/null || true
	@CGO_ENABLED=$(if $(CGO),1,0) $(GO) test -c -o $(BUILD)/bench-ours -tags '$(TAGS)' ./internal/bench
	@CGO_ENABLED=$(if $(CGO),1,0) $(GO) test -c -o $(BUILD)/bench-intree -tags '$(filter-out exclude_graphdriver_aufs,$(TAGS))' ./internal/bench
	@cd $(SECOND) && CGO_ENABLED=$(if $(CGO),1,0) $(GO) test -c -o ../$(BUILD)/bench-podman -tags '$(PODMAN_TAGS)' ./internal/bench
	@$(GO) build -o $(BUILD)/benchrun ./internal/bench/run
	@status=0; \
	$(call bench-profiles-dir,bench); \
	$(BUILD)/benchrun -out $(BUILD)/bench.txt -dir '$(BENCHDIR)' -bench '$(value BENCH)' -benchtime '$(BENCHTIME)' -count '$(COUNT)' -size '$(SIZE)' \
		$(call bench-profiles-flag,bench) $(BUILD)/bench-ours $(BUILD)/bench-intree $(BUILD)/bench-podman || status=$$?; \
	$(call bench-table,bench); \
	$(if $(DOCS),{ $(call bench-docs,bench); } || status=$$?;) \
	$(call bench-profiles,bench); \
	exit $$status

# In an emulated machine this takes half an hour, and a third of that with SIZE=medium.
# The image of the disk grows only as it is written to.
#: vmbench KERNEL=bzImage for amd64, and other settings of bench and vmtest
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
		-mem '$(MEM)' -cores '$(CORES)' -disk '$(DISK)' -accel '$(ACCEL)' $(if $(KEEP),-keep) $(if $(CGO),-cgo) $(call bench-profiles-flag,vmbench) \
		-bench $(BUILD)/vmbench.txt -run '$(value BENCH)' -benchtime '$(BENCHTIME)' -count '$(COUNT)' -size '$(SIZE)' || status=$$?; \
	$(call bench-table,vmbench); \
	$(if $(DOCS),{ $(call bench-docs,vmbench); } || status=$$?;) \
	$(call bench-profiles,vmbench); \
	exit $$status
