package testreport

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readFile reads events of a real "go test -json".
func readFile(t *testing.T, name string, opts Options) *Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report, err := Read(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestReadCounts(t *testing.T) {
	tests := []struct {
		file                string
		total               Counts
		aufs, overlay, none Counts
	}{
		{
			file:    "good.json",
			total:   Counts{Passed: 5, Failed: 2, Skipped: 2},
			aufs:    Counts{Passed: 1, Skipped: 1},
			overlay: Counts{Passed: 2, Failed: 1},
			none:    Counts{Passed: 2, Failed: 1, Skipped: 1},
		},
		{
			file:  "broken.json",
			total: Counts{Failed: 1},
			none:  Counts{Failed: 1},
		},
		{
			file:  "panics.json",
			total: Counts{Passed: 1, Failed: 1},
			aufs:  Counts{Failed: 1},
			none:  Counts{Passed: 1},
		},
		{
			file:  "late.json",
			total: Counts{Passed: 1, Failed: 1},
			none:  Counts{Passed: 1, Failed: 1},
		},
		{
			file:    "timeout.json",
			total:   Counts{Failed: 1},
			overlay: Counts{Failed: 1},
		},
		{file: "empty.json"},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			report := readFile(t, test.file, Options{})
			got := []Counts{
				report.Total(), report.Backend("aufs"), report.Backend("overlay"), report.Backend("none"),
			}
			want := []Counts{test.total, test.aufs, test.overlay, test.none}
			if !slices.Equal(got, want) {
				t.Errorf("total, aufs, overlay, none: got %+v, want %+v", got, want)
			}
		})
	}
}

func TestReadReasons(t *testing.T) {
	tests := []struct {
		file, test string
		want       string
	}{
		{"good.json", "TestDriver/aufs/Mount", "no aufs: unknown filesystem type"},
		{"good.json", "TestSilentSkip", "no reason given"},
		{"good.json", "TestParentFails", ""},
		{"broken.json", "", "build failed"},
		{"late.json", "", "failed outside of its tests"},
		{"timeout.json", "TestSlow/overlay", "did not finish"},
	}
	for _, test := range tests {
		t.Run(test.file+" "+strings.ReplaceAll(test.test, "/", " "), func(t *testing.T) {
			results := readFile(t, test.file, Options{}).Results
			i := slices.IndexFunc(results, func(r Result) bool { return r.Test == test.test })
			if i < 0 {
				t.Fatalf("no result of %q in %+v", test.test, results)
			}
			if got := results[i].Reason; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestReadLog(t *testing.T) {
	tests := []struct {
		file     string
		verbose  bool
		has, not []string
	}{
		{
			"good.json", false,
			[]string{"a_test.go:15: wrong content", "FAIL\texample.test/sample/good"},
			[]string{"noise", "=== RUN", "tried"},
		},
		{
			"good.json", true,
			[]string{"wrong content", "noise", "=== RUN   TestPlain", "tried"},
			nil,
		},
		{"broken.json", false, []string{"undefined: undefined", "[build failed]"}, nil},
		{"panics.json", false, []string{"panic: boom"}, []string{"TestBefore"}},
		{"timeout.json", false, []string{"test timed out", "TestSlow/overlay did not finish"}, nil},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			var log strings.Builder
			readFile(t, test.file, Options{Log: &log, Verbose: test.verbose})
			for _, want := range test.has {
				if strings.Count(log.String(), want) != 1 {
					t.Errorf("not once in the log: %q\n%s", want, log.String())
				}
			}
			for _, unwanted := range test.not {
				if strings.Contains(log.String(), unwanted) {
					t.Errorf("in the log: %q\n%s", unwanted, log.String())
				}
			}
		})
	}
}

func TestReadCutOff(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "late.json"))
	if err != nil {
		t.Fatal(err)
	}
	beforeTheEnd := data[:strings.LastIndex(strings.TrimSpace(string(data)), "\n")+1]
	report, err := Read(strings.NewReader(string(beforeTheEnd)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := report.Results[len(report.Results)-1]
	if last.Outcome != Failed || last.Reason != "did not finish" {
		t.Errorf("got %+v", last)
	}
}

func TestReadForeignLines(t *testing.T) {
	var log strings.Builder
	_, err := Read(strings.NewReader("go: downloading a/b v1.0.0\n{not json}\n"), Options{Log: &log})
	if !errors.Is(err, ErrNoEvents) {
		t.Errorf("got error %v, want %v", err, ErrNoEvents)
	}
	if want := "go: downloading a/b v1.0.0\n{not json}\n"; log.String() != want {
		t.Errorf("got log %q, want %q", log.String(), want)
	}
}

func TestReadTwice(t *testing.T) {
	events := `{"Action":"fail","Package":"p","Test":"TestFlaky"}
{"Action":"pass","Package":"p","Test":"TestFlaky"}
{"Action":"fail","Package":"p"}
`
	report, err := Read(strings.NewReader(events), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := report.Total(), (Counts{Failed: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestReadSlash has a subtest whose own name contains a slash, so that it has
// no parent TestX/a.
func TestReadSlash(t *testing.T) {
	events := `{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"run","Package":"p","Test":"TestX/a/b"}
{"Action":"pass","Package":"p","Test":"TestX/a/b"}
{"Action":"pass","Package":"p","Test":"TestX"}
{"Action":"pass","Package":"p"}
`
	report, err := Read(strings.NewReader(events), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := report.Total(), (Counts{Passed: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
