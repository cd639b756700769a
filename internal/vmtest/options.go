//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-642172e2/aufs/internal/bench"
	"github.com/seed-642172e2/aufs/internal/faults"
)

// consoleLog is the file for the console's output, below the module's root.
const consoleLog = "build/vmtest-console.log"

// options are the command's flags.
type options struct {
	kernel  string
	arch    string // the processor, one of machines
	busybox string // the program of Debian's busybox-static, for that processor
	modules string // a directory; "": everything needed is built in
	image   string // an OCI layout; "": leave out the tests that need one
	// auplink is a static program for the in-tree driver; "": the guest has none.
	auplink  string
	fs       string
	memory   string
	cores    int
	disk     int64 // bytes
	timeout  time.Duration
	run      string
	accel    string
	backends []string
	// libraries are the names of the libraries whose drivers are tested.
	libraries []string
	// core is the result of corePackages.
	core []string
	// sequences is how many sequences the differential test runs on each backend.
	sequences int
	// steps is how many ways of interrupting each operation are tried, or "all".
	steps string
	// stress is how long each stress test takes on each backend.
	stress time.Duration
	// deny are the names of faults.NewCalls that the tests have to do without.
	deny []string
	// seed is the seed of the random sequences; 0: the time.
	seed uint64
	// bench is the file for the results of the benchmarks, which then replace
	// the tests; "": run the tests.
	bench string
	// cgo says that the benchmarks are built with cgo.
	cgo       bool
	benchtime string
	count     int
	size      string
	// profiles is a directory for CPU profiles of the benchmarks; "": make none.
	profiles string
	// system is the directory of an installed Linux system, in which the guest runs command in place of the tests; "": run
	// the tests.
	system, command string
	keep            bool
	verbose         bool
}

var errNoKernel = errors.New("no kernel: say KERNEL=path/to/bzImage")

func parseOptions(args []string) (options, error) {
	var (
		opts                            options
		disk, backends, libraries, deny string
	)
	flags := flag.NewFlagSet("vmtest", flag.ContinueOnError)
	flags.StringVar(&opts.kernel, "kernel", "", "the kernel's bzImage, or on arm64 its Image")
	flags.StringVar(&opts.arch, "arch", "amd64", "the kernel's processor: "+strings.Join(slices.Sorted(maps.Keys(machines)), ", "))
	flags.StringVar(&opts.busybox, "busybox", "/bin/busybox", "the program of busybox-static for that processor")
	flags.StringVar(&opts.modules, "modules", "", "directory of the kernel's modules, if not all that is needed is built in")
	flags.StringVar(&opts.image, "image", "", "OCI layout for the tests with real images")
	flags.StringVar(&opts.auplink, "auplink", "", "auplink(8), statically linked, which the in-tree driver runs where there is one")
	flags.StringVar(&opts.fs, "fs", "ext4", "file system under test: "+strings.Join(fileSystems(), ", "))
	flags.StringVar(&opts.memory, "mem", "2G", "memory of the machine")
	flags.IntVar(&opts.cores, "cores", 2, "processors of the machine")
	flags.StringVar(&disk, "disk", "4G", "size of the disk, which is a sparse file")
	flags.DurationVar(&opts.timeout, "timeout", 30*time.Minute, "from boot to end")
	flags.StringVar(&opts.run, "run", "", "regular expression that chooses the tests")
	flags.StringVar(&opts.accel, "accel", "tcg", "QEMU's accelerator: tcg or kvm")
	flags.StringVar(&backends, "backends", "aufs overlay", "backends that must be tested")
	flags.StringVar(&libraries, "libraries", strings.Join(libraryNames(), " "), "storage libraries whose drivers are tested")
	flags.IntVar(&opts.sequences, "sequences", 25, "how many random sequences the differential test runs")
	flags.StringVar(&opts.steps, "steps", "2", "in how many ways each operation is interrupted; or all")
	flags.DurationVar(&opts.stress, "stress", 5*time.Second, "how long each stress test is")
	flags.StringVar(&deny, "deny", "", "system calls that the tests have to do without, among "+strings.Join(newCalls(), " "))
	flags.Uint64Var(&opts.seed, "seed", 0, "seed of the random sequences; 0: the time")
	flags.StringVar(&opts.bench, "bench", "", "run benchmarks, and no tests; the file for their results")
	flags.BoolVar(&opts.cgo, "cgo", false, "build the benchmarks with cgo, and link them statically")
	flags.StringVar(&opts.benchtime, "benchtime", "300ms", "how long each benchmark is in each round")
	flags.IntVar(&opts.count, "count", 6, "how many rounds of the benchmarks there are")
	flags.StringVar(&opts.size, "size", bench.Full, "size of the benchmarks: "+strings.Join(bench.Sizes(), ", "))
	flags.StringVar(&opts.profiles, "profiles", "", "directory for CPU profiles of the benchmarks; none: none are made")
	flags.StringVar(&opts.system, "system", "", "directory of a Linux system; run -command in it, and no tests")
	flags.StringVar(&opts.command, "command", "", "command for the shell of the system")
	flags.BoolVar(&opts.keep, "keep", false, "keep the temporary directory")
	flags.BoolVar(&opts.verbose, "v", false, "show the output of all tests")
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	var err error
	if opts.disk, err = parseSize(disk); err != nil {
		return opts, fmt.Errorf("-disk: %w", err)
	}
	opts.backends, opts.libraries, opts.deny = strings.Fields(backends), strings.Fields(libraries), strings.Fields(deny)
	return opts, opts.check()
}

func (opts options) check() error {
	if opts.kernel == "" {
		return errNoKernel
	}
	if info, err := os.Stat(opts.kernel); err != nil {
		return fmt.Errorf("no kernel: %w", err)
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("no kernel: %s is not a file", opts.kernel)
	}
	if opts.image != "" {
		if _, err := os.Stat(filepath.Join(opts.image, "index.json")); err != nil {
			return fmt.Errorf("no image: %w", err)
		}
	}
	if opts.auplink != "" {
		if info, err := os.Stat(opts.auplink); err != nil {
			return fmt.Errorf("no auplink: %w", err)
		} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return fmt.Errorf("no auplink: %s is not a program", opts.auplink)
		}
	}
	if err := opts.checkNames(); err != nil {
		return err
	}
	if len(opts.libraries) == 0 {
		return errors.New("no library")
	}
	if opts.cores <= 0 {
		return fmt.Errorf("%d processors", opts.cores)
	}
	if n, err := strconv.Atoi(opts.steps); opts.steps != "all" && (err != nil || n < 0) {
		return fmt.Errorf("%q steps", opts.steps)
	}
	if opts.count <= 0 {
		return fmt.Errorf("%d rounds", opts.count)
	}
	if opts.sequences <= 0 {
		return fmt.Errorf("%d sequences", opts.sequences)
	}
	if len(opts.backends) == 0 {
		return errors.New("no backend to test")
	}
	return opts.checkSystem()
}

// checkNames returns an error for a name that is not among those that there are of its kind.
func (opts options) checkNames() error {
	for _, of := range []struct {
		kind         string
		given, known []string
	}{
		{"file system", []string{opts.fs}, fileSystems()},
		{"processor", []string{opts.arch}, slices.Sorted(maps.Keys(machines))},
		{"accelerator", []string{opts.accel}, []string{"tcg", "kvm"}},
		{"backend", opts.backends, []string{"aufs", "overlay"}},
		{"library", opts.libraries, libraryNames()},
		{"size", []string{opts.size}, bench.Sizes()},
		{"system call", opts.deny, newCalls()},
	} {
		for _, name := range of.given {
			if !slices.Contains(of.known, name) {
				return fmt.Errorf("unknown %s %q", of.kind, name)
			}
		}
	}
	return nil
}

// newCalls returns the names of faults.NewCalls.
func newCalls() []string { return slices.Sorted(maps.Keys(faults.NewCalls)) }

// maySkip reports whether tests on the backend may be skipped. On aufs, some
// tests also need overlay or the in-tree driver, which does not support btrfs.
// On overlay, the tests in a user namespace need attributes that a tmpfs may
// lack.
func (opts options) maySkip(backend string) bool {
	switch backend {
	case "aufs":
		return !slices.Contains(opts.backends, "overlay") || opts.fs == "btrfs"
	default:
		return opts.fs == "tmpfs"
	}
}

// parseSize reads a number of bytes, with an optional suffix K, M or G, which
// are powers of 1024.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMG")
	shift, ok := map[string]int{"": 0, "K": 10, "M": 20, "G": 30}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n <= 0 || n > 1<<50>>shift {
		return 0, fmt.Errorf("%q is no size", s)
	}
	return n << shift, nil
}
