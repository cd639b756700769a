package testreport

import (
	"slices"
	"strings"
	"testing"
)

func TestBackendOf(t *testing.T) {
	tests := []struct{ test, want string }{
		{"TestX", "none"},
		{"TestX/aufs", "aufs"},
		{"TestX/overlay/Diff", "overlay"},
		{"TestX/Diff/aufs", "aufs"},
		{"TestX/overlayfs", "none"},
		{"TestX/aufs#01", "none"},
	}
	for _, test := range tests {
		if got := backendOf(test.test); got != test.want {
			t.Errorf("%s: got %s, want %s", test.test, got, test.want)
		}
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name    string
		results []Result
		noSkip  []string
		mayMiss []string
		want    []string
	}{
		{name: "no test", want: nil},
		{name: "none of overlay", noSkip: []string{"overlay"}, want: []string{"no test of overlay was run"}},
		{
			name:    "skipped where it may be",
			results: []Result{{Backend: "overlay"}, {Backend: "aufs", Outcome: Skipped}},
			noSkip:  []string{"overlay"},
		},
		{
			name:    "skipped where it may not be",
			results: []Result{{Backend: "overlay"}, {Backend: "overlay", Outcome: Skipped}},
			noSkip:  []string{"overlay"},
			want:    []string{"1 tests of overlay were skipped, and none may be"},
		},
		{
			name: "skipped for a reason that may be",
			results: []Result{
				{Backend: "overlay"},
				{Backend: "overlay", Outcome: Skipped, Reason: "no disk: it is gone"},
				{Backend: "overlay", Outcome: Skipped, Reason: "there is no disk"},
			},
			noSkip:  []string{"overlay"},
			mayMiss: []string{"no disk"},
			want:    []string{"1 tests of overlay were skipped, and none may be"},
		},
		{name: "failed", results: []Result{{Outcome: Failed}}, want: []string{"1 failed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report := &Report{Results: test.results}
			if got := report.Problems(test.noSkip, test.mayMiss); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	report := &Report{Results: []Result{
		{Package: "p", Test: "TestA/aufs", Backend: "aufs", Outcome: Failed},
		{Package: "p", Test: "TestB/overlay", Backend: "overlay"},
		{Package: "p", Test: "TestC", Backend: "none", Outcome: Skipped, Reason: "needs root"},
	}}
	var b strings.Builder
	if err := report.Print(&b, map[string]string{"aufs": "this kernel has none"}); err != nil {
		t.Fatal(err)
	}
	want := `
FAILED:
  p TestA/aufs

SKIPPED:
  p TestC: needs root

  backend  run  passed  failed  skipped
     aufs    1       0       1        0
  overlay    1       1       0        0
     none    0       0       0        1
aufs was not run: this kernel has none
1 passed, 1 failed, 1 skipped
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
