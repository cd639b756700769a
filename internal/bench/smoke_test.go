//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestEachBenchmark runs all benchmarks once, at a small size. They check their work; the test
// ignores their times.
func TestEachBenchmark(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	if len(drivers()) == 0 {
		t.Skip("this program has no driver for this kernel")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-test.benchmem")
	// With the race detector, each child that unpacks an archive would wait for a second at its
	// end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", sizeVariable+"="+Small, dirVariable+"=", "TMPDIR="+memoryDir(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range Cases() {
		if c.Limited || c.Podman {
			// There are no quotas in memory, and the other cases are in another program, which has a test like this one.
			continue
		}
		for _, d := range drivers() {
			if d.copies || c.Name == "ImageStore" && !d.hasImageStores() {
				continue
			}
			if !regexp.MustCompile(`(?m)^Benchmark` + c.Name + `/\S*driver=` + d.name + `(-\d+)?\s`).Match(out) {
				t.Errorf("%s was not run with %s:\n%s", c.Name, d.name, out)
			}
		}
	}
}

// memoryDir makes a directory in memory, where nothing waits for the disk or for the writes of
// other programs.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "aufs-bench-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// TestCases compares the list of cases with the existing benchmarks.
func TestCases(t *testing.T) {
	out, err := exec.Command("/proc/self/exe", "-test.list=^Benchmark").Output()
	must(t, err)
	found := map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "Benchmark"); ok {
			found[name] = true
		}
	}
	for _, c := range Cases() {
		if found[c.Name] == c.Podman {
			t.Errorf("the case %s is in another program than its entry says", c.Name)
		}
		delete(found, c.Name)
	}
	for name := range found {
		t.Errorf("%s is not among the cases", name)
	}
}
