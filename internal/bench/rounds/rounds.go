//go:build linux

package rounds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-642172e2/aufs/internal/bench"
	"golang.org/x/sys/unix"
)

// A Plan says what to run.
type Plan struct {
	Programs []string // paths of the test binaries
	Bench    string   // which benchmarks, as for -test.bench; "": all
	Time     string   // how long each benchmark runs in each round, as for -test.benchtime
	Count    int      // how many rounds there are
	Size     string   // one of bench.Sizes
	Dir      string   // an empty directory on the file system under test
	// Begin, if not nil, is called with the name of each benchmark that begins.
	Begin func(name string)
	// Profile, if not nil, gets the CPU profile, in the format of pprof, of each program in the last round of each benchmark. The
	// profile leaves out the processes that a benchmark starts; workers have profiles of their own.
	Profile func(name string, profile []byte) error
}

// Run carries out the plan. It writes results in the format of Go's benchmarks to results, and its progress to
// progress. A failed benchmark does not keep the others from running; its output is in the error.
func (p Plan) Run(ctx context.Context, results, progress io.Writer) error {
	cases, keys, err := bench.Select(p.Bench)
	if err != nil {
		return err
	}
	if !slices.Contains(bench.Sizes(), p.Size) {
		return fmt.Errorf("unknown size %q", p.Size)
	}
	if err := p.describe(results); err != nil {
		return err
	}
	var errs []error
	for i, c := range cases {
		start := time.Now()
		if p.Begin != nil {
			p.Begin("Benchmark" + c.Name)
		}
		errs = append(errs, p.runCase(ctx, c, keys, results))
		if i+1 == len(cases) || cases[i+1].StoresOf() != c.StoresOf() {
			errs = append(errs, os.RemoveAll(p.dirOf(c)))
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		fmt.Fprintf(progress, "%s: %d rounds, %v\n", c.Name, p.Count, time.Since(start).Round(time.Second))
	}
	return errors.Join(errs...)
}

// describe writes the properties of the machine, in the form that benchstat reads.
func (p Plan) describe(w io.Writer) error {
	var uts unix.Utsname
	var fs unix.Statfs_t
	var info unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&uts), unix.Statfs(p.Dir, &fs), unix.Sysinfo(&info)); err != nil {
		return fmt.Errorf("look at the machine: %w", err)
	}
	cpus, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	if err != nil {
		return err
	}
	auplink := bench.NoAuplink + ", so the in-tree driver runs none"
	if path, err := exec.LookPath("auplink"); err == nil {
		auplink = path + ", which the in-tree driver runs before each unmount"
	}
	_, err = fmt.Fprintf(w, "kernel: %s %s\nfilesystem: %s\nmachine: %d processors, %d MB\nauplink: %s\n",
		unix.ByteSliceToString(uts.Sysname[:]), unix.ByteSliceToString(uts.Release[:]),
		fsName(int64(fs.Type)), len(cpus), uint64(info.Totalram)*uint64(info.Unit)>>20, auplink) //nolint:unconvert // the type of fs.Type depends on the architecture
	return err
}

// fsName returns the name of a file system for its magic number.
func fsName(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	}
	if name, ok := names[magic]; ok {
		return name
	}
	return fmt.Sprintf("%#x", magic)
}

// dirOf returns the directory of a case's stores.
func (p Plan) dirOf(c bench.Case) string { return filepath.Join(p.Dir, c.StoresOf()) }

// runCase runs the rounds of one case. The first round makes the stores, and the others use them again.
func (p Plan) runCase(ctx context.Context, c bench.Case, keys string, results io.Writer) error {
	if err := os.MkdirAll(p.dirOf(c), 0o700); err != nil {
		return err
	}
	programs := slices.Clone(p.Programs)
	var errs []error
	for round := range p.Count {
		// No program always comes first. A program that fails would fail in all rounds, so it runs no more.
		slices.Reverse(programs)
		programs = slices.DeleteFunc(programs, func(program string) bool {
			err := p.runProgram(ctx, program, c, keys, round, results)
			errs = append(errs, err)
			return err != nil
		})
	}
	return errors.Join(errs...)
}

func (p Plan) runProgram(ctx context.Context, program string, c bench.Case, keys string, round int, results io.Writer) error {
	dir := p.dirOf(c)
	args := p.args(c, keys)
	profile := filepath.Join(p.Dir, "cpu.prof")
	profiled := p.Profile != nil && round == p.Count-1
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(),
		"AUFS_BENCH_DIR="+dir, "TMPDIR="+dir, "AUFS_BENCH_SIZE="+p.Size, "AUFS_BENCH_ROUND="+strconv.Itoa(round))
	if profiled {
		cmd.Args = append(cmd.Args, "-test.cpuprofile="+profile)
		cmd.Env = append(cmd.Env, "AUFS_BENCH_PROFILE="+profile)
	}
	cmd.Dir = dir
	// Any mounts that the program leaves disappear with its mount namespace.
	cmd.SysProcAttr = &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if werr := keepResults(results, string(out)); werr != nil {
		return werr
	}
	if err != nil {
		return fmt.Errorf("%s of %s: %w\n%s", c.Name, filepath.Base(program), err, tail(string(out)))
	}
	if !profiled {
		return nil
	}
	return p.handProfiles(profile, c.Name+"-"+filepath.Base(program))
}

// handProfiles passes on the profile of a program at path, and the profiles of its workers, whose names are longer.
func (p Plan) handProfiles(path, name string) error {
	paths, err := filepath.Glob(path + "*")
	if err != nil {
		return err
	}
	if !slices.Contains(paths, path) {
		return fmt.Errorf("%s has made no profile", name)
	}
	var errs []error
	for _, found := range paths {
		content, err := os.ReadFile(found)
		if err == nil {
			err = errors.Join(os.Remove(found), p.Profile(name+strings.ReplaceAll(found[len(path):], ".", "-")+".prof", content))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// args returns the flags of the test binary.
func (p Plan) args(c bench.Case, keys string) []string {
	expression := "^Benchmark" + c.Name + "$"
	if keys != "" {
		expression += "/" + keys
	}
	benchtime := p.Time
	if c.Times > 0 {
		benchtime = strconv.Itoa(c.Times) + "x"
	}
	return []string{
		"-test.run=^$", "-test.bench=" + expression, "-test.benchtime=" + benchtime, "-test.benchmem", "-test.timeout=0",
	}
}

// keepResults writes the lines of a test binary's output that are results or describe them.
func keepResults(w io.Writer, out string) error {
	for line := range strings.Lines(out) {
		key, _, _ := strings.Cut(line, ":")
		// benchstat would make one table for each value of "pkg".
		if !strings.HasPrefix(line, "Benchmark") && !slices.Contains([]string{"goos", "goarch", "cpu"}, key) {
			continue
		}
		// A line without figures is the beginning of a result that a message has cut in two.
		if strings.HasPrefix(line, "Benchmark") && !strings.Contains(line, "ns/op") {
			continue
		}
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
	}
	return nil
}

// tailLines is how many lines of a failed program's output the error shows.
const tailLines = 40

func tail(out string) string {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
