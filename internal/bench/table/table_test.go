package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is output of benchstat, with six rounds of some results, and one round of others.
const sample = `goos: linux
kernel: Linux 6.1.1
"machine: 2 processors, 1 MB"
"auplink: none, so the in-tree driver runs none"
,intree,,aufs,,,,overlay,,,,aufs-overlay,,,,floor,,,
,sec/op,CI,sec/op,CI,vs base,P,sec/op,CI,vs base,P,sec/op,CI,vs base,P,sec/op,CI,vs base,P
GetPut/parents=1-2,0.010,10%,0.005,10%,-50.00%,p=0.002 n=6,0.001,0%,-90.00%,p=0.002 n=6,0.002,0%,-80.00%,p=0.002 n=6
GetPut/parents=120-2,0.260,0%,0.030,0%,-80.00%,p=0.002 n=6,0.001,0%,-90.00%,p=0.002 n=6,0.001,50%,~,p=0.900 n=6
GetFirst/get=first/parents=30-2,,,0.006,0%,~,p=1.000 n=1,0.004,0%,~,p=1.000 n=1,0.004,50%,~,p=1.000 n=1
GetFirst/get=later/parents=30-2,,,0.005,0%,~,p=1.000 n=1,0.004,0%,~,p=1.000 n=1,0.002,0%,~,p=1.000 n=1
Diff/files=1000/content=small-2,0.010,∞,0.008,∞,~,p=1.000 n=1,,,,,,,,
Create/layers=10000-2,0.001,0%,0.005,0%,~,p=1.000 n=1,,,,,,,,,0.002,0%,-80.00%,p=0.002 n=6
ListLayers/layers=10000-2,0.004,0%,0.005,0%,~,p=1.000 n=1,,,,,,,,,0.002,0%,-80.00%,p=0.002 n=6
geomean,0.02,,0.01,,-50.00%,,0.001,,-90.00%,,0.001,,-90.00%,

,intree,,aufs,,,
,B/op,CI,B/op,CI,vs base,P
GetPut/parents=1-2,2000,0%,1500,0%,-25.00%,p=0.002 n=6
geomean,2000,,1500,,-25.00%,
`

func TestTable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "table.md")
	var out strings.Builder
	if err := run(strings.NewReader(sample), &out, file); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- machine: 2 processors, 1 MB\n",
		"| case | aufs | in-tree without auplink ÷ aufs | goal | growth of aufs (in-tree without auplink) | memory of aufs (in-tree without auplink) | overlay ÷ aufs | floor ÷ aufs | aufs-overlay |",
		"| GetPut/parents=1 | 5.0 ms | 2.0 (1.6–2.4) | 1.0: yes |  | 1.5 kB in 0 (2.0 kB in 0) | 0.20 (0.18–0.22) |  | 2.0 ms | 0.50 (0.50–0.50) | 0.90: no |",
		"| GetPut/parents=120 | 30 ms | 8.7 (8.7–8.7) | 1.5: yes | 210 µs a parent (2.1 ms a parent) |",
		"| 1.0 (0.67–2.0) | 0.90: yes? |",
		"| first ÷ later of aufs | goal | first ÷ later of aufs-overlay | goal | first ÷ later of overlay |",
		"| 1.2 (1.2–1.2) | 1.3 at most: yes | 2.0 (1.0–3.0) | 1.3 at most: no? | 1.0 (1.0–1.0) |",
		"| Diff/files=1000/content=small | 8.0 ms | 1.2 | 1.5: no? |",
		"\nNot measured: vfs, tar.\n",
		"| Create/layers=10000 | 5.0 ms | 0.20 (0.20–0.20) | 1.0: out of reach |",
		"| ListLayers/layers=10000 | 5.0 ms | 0.80 (0.80–0.80) | 1.0: no |",
		"\nGoals: 4 met, 2 rather met, 2 rather missed, 2 missed, 1 out of reach.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	if kept, err := os.ReadFile(file); err != nil || string(kept) != out.String() {
		t.Errorf("the file has something else: %v", err)
	}
}

// TestAuplinkInTitle checks that the title of the in-tree driver's column says whether it ran
// auplink.
func TestAuplinkInTitle(t *testing.T) {
	for want, setting := range map[string]string{
		"in-tree without auplink": "none, so the in-tree driver runs none",
		"in-tree with auplink":    "/bin/auplink, which the in-tree driver runs before each unmount",
		"in-tree":                 "",
	} {
		s := &stats{}
		s.set("auplink", setting)
		if got := s.inTree(); got != want {
			t.Errorf("with the setting %q: got %q, want %q", setting, got, want)
		}
	}
}

func TestNoTable(t *testing.T) {
	if err := run(strings.NewReader("goos: linux\n"), &strings.Builder{}, ""); !errors.Is(err, errNoStats) {
		t.Errorf("got %v", err)
	}
}

func TestRatioWithoutSpread(t *testing.T) {
	r := over(measure{2, math.Inf(1)}, measure{1, math.Inf(1)})
	if got := r.String(); got != "2.0" {
		t.Errorf("got %s", got)
	}
	if got := r.verdict(1); got != rather {
		t.Errorf("got %s", got)
	}
}

func TestUnits(t *testing.T) {
	for want, got := range map[string]string{
		"1.5 ms": duration(0.0015), "15 ms": duration(0.015), "-3.0 µs": duration(-3e-6), "0.0 ns": duration(0),
		"12 kB": size(12345), "9999": count(9999), "12 k": count(12345), "7.0 B": size(7),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
