//go:build linux

package rounds

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/bench"
)

// fakeProgram makes a script that replaces a test binary and prints how it was called.
func fakeProgram(t *testing.T, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace takes root")
	}
	plan := Plan{
		Programs: []string{
			fakeProgram(t, "a", `echo "goos: linux"; echo "Benchmark$2,$3/program=a 1 5 ns/op"; echo PASS`),
			fakeProgram(t, "b", `echo "Benchmark$2,$3/program=b 1 5 ns/op"; echo "--- SKIP: BenchmarkX"; touch "$AUFS_BENCH_DIR/x"`),
		},
		Bench: "Exists|DeferredRemove/files=1$", Time: "7ms", Count: 3, Size: bench.Full, Dir: t.TempDir(),
	}
	var results, progress strings.Builder
	if err := plan.Run(context.Background(), &results, &progress); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(results.String(), "\nauplink: ")
	_, got, _ = strings.Cut(got, "\n")
	remove := func(program string) string {
		return "Benchmark-test.bench=^BenchmarkDeferredRemove$/files=1$,-test.benchtime=1x/program=" + program + " 1 5 ns/op\n"
	}
	exists := func(program string) string {
		return "Benchmark-test.bench=^BenchmarkExists$/files=1$,-test.benchtime=7ms/program=" + program + " 1 5 ns/op\n"
	}
	want := ""
	for _, line := range []func(string) string{remove, exists} {
		want += line("b") + "goos: linux\n" + line("a") + "goos: linux\n" + line("a") + line("b") + line("b") + "goos: linux\n" + line("a")
	}
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !strings.HasPrefix(results.String(), "kernel: Linux ") {
		t.Errorf("the kernel is not said: %s", results.String())
	}
	if left, err := os.ReadDir(plan.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRunProfiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace takes root")
	}
	plan := Plan{
		Programs: []string{fakeProgram(t, "a", `for flag; do case $flag in *cpuprofile=*) echo "of $AUFS_BENCH_ROUND" > "${flag#*=}"; echo worker > "$AUFS_BENCH_PROFILE.w-0"; esac; done`)},
		Bench:    "Exists", Time: "7ms", Count: 2, Size: bench.Full, Dir: t.TempDir(),
	}
	profiles := map[string]string{}
	plan.Profile = func(name string, profile []byte) error {
		profiles[name] += string(profile)
		return nil
	}
	var results, progress strings.Builder
	if err := plan.Run(context.Background(), &results, &progress); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"Exists-a.prof": "of 1\n", "Exists-a-w-0.prof": "worker\n"}; !maps.Equal(profiles, want) {
		t.Errorf("the profiles are %q, where %q are wanted", profiles, want)
	}
	if left, err := os.ReadDir(plan.Dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestRunFails(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace takes root")
	}
	plan := Plan{
		Programs: []string{fakeProgram(t, "a", `echo "Benchmark$2 1 5 ns/op"; echo broken; exit 1`)},
		Bench:    "Exists|Create", Time: "7ms", Count: 1, Size: bench.Full, Dir: t.TempDir(),
	}
	var results, progress strings.Builder
	err := plan.Run(context.Background(), &results, &progress)
	if err == nil || strings.Count(err.Error(), "broken") != strings.Count(results.String(), "\nBenchmark") {
		t.Errorf("got the error %v, and the results %s", err, results.String())
	}
	plan.Bench = "None"
	if err := plan.Run(context.Background(), &results, &progress); err == nil {
		t.Error("there is no such benchmark, and no error")
	}
}
