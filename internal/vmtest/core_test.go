//go:build linux

package main

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestCorePackages(t *testing.T) {
	t.Chdir(t.TempDir())
	const test = "package p\n"
	writeFiles(t, map[string]string{
		"go.mod":                                "module example.test/m\n",
		"root_test.go":                          test,
		"internal/core/inside/p.go":             test,
		"internal/core/inside/p_test.go":        test,
		"internal/core/outside/a_test.go":       "package p_test\n",
		"internal/core/a/b/p_test.go":           test,
		"internal/core/none/p.go":               test,
		"internal/core/other/p.go":              test,
		"internal/core/other/p_windows_test.go": test,
		"internal/core/testdata/p_test.go":      test,
		"internal/core/tag/p.go":                test,
		"internal/core/tag/intree_test.go":      "//go:build !exclude_graphdriver_aufs\n\n" + test,
		"internal/core/linux/p_linux_test.go":   test,
		"internal/drivertest/p_linux_test.go":   test,
	})
	got, err := corePackages(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"internal/core/a/b", "internal/core/inside", "internal/core/linux", "internal/core/outside", "internal/drivertest"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	writeFiles(t, map[string]string{"internal/core/broken/p.go": "no Go\n"})
	if _, err := corePackages(t.Context(), runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "expected 'package'") {
		t.Errorf("a file that is no Go: got %v", err)
	}
}
