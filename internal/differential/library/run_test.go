//go:build linux

package library

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	_ "github.com/containers/storage/drivers/vfs" // registers itself
	"github.com/containers/storage/pkg/reexec"
	"github.com/seed-642172e2/aufs/internal/differential"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child of this very program.
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// sample has some of everything that an archive carries, and deletions.
const sample = `
layer
mkdir "d" 0o755
create "d/f" 0o640 5000 1
create "gone" 0o644 1 2
symlink "l" "d/f"
layer
unlink "gone"
create "new" 0o4755 100 3
chown "new" 1000 65534
setxattr "new" "user.a" "1"
append "d/f" 1 4
mkdir "d/sub" 0o700
`

// vfs returns a Subject for the storage library's driver vfs, which needs no
// mounts. The Subject opens what wrap makes of the driver.
func vfs(wrap func(differential.Driver) differential.Driver) differential.Subject {
	return differential.Subject{Open: func(home string) (differential.Driver, error) {
		d, err := graphdriver.GetDriver("vfs", graphdriver.Options{Root: home, RunRoot: home + "-run"})
		if err != nil {
			return nil, err
		}
		return wrap(Driver(d)), nil
	}}
}

// A faulty is a driver with a fault.
type faulty struct {
	differential.Driver
	// unpacked changes or drops an entry of an archive that is applied.
	unpacked func(*tar.Header) (keep bool)
	// changed changes what Changes returns.
	changed func([]differential.Change) []differential.Change
	// mounted changes what a mount shows.
	mounted func(dir string) error
}

func (f faulty) ApplyDiff(id, parent string, diff io.Reader) error {
	if f.unpacked != nil {
		var err error
		if diff, err = filter(diff, f.unpacked); err != nil {
			return err
		}
	}
	return f.Driver.ApplyDiff(id, parent, diff)
}

func (f faulty) Changes(id, parent string) ([]differential.Change, error) {
	changes, err := f.Driver.Changes(id, parent)
	if f.changed != nil {
		changes = f.changed(changes)
	}
	return changes, err
}

func (f faulty) Get(id string) (string, error) {
	dir, err := f.Driver.Get(id)
	if err == nil && f.mounted != nil {
		err = f.mounted(dir)
	}
	return dir, err
}

// filter copies an archive, and has keep change or drop its entries.
func filter(in io.Reader, keep func(*tar.Header) bool) (io.Reader, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for r := tar.NewReader(in); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return &out, w.Close()
		}
		if err != nil {
			return nil, err
		}
		if !keep(header) {
			continue
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, r); err != nil {
			return nil, err
		}
	}
}

// TestRun compares a driver without faults, and drivers with one fault each.
// Run must say what is wrong with them.
func TestRun(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners takes root")
	}
	tests := []struct {
		name  string
		fault faulty
		want  string // "": nothing is wrong
	}{
		{"none", faulty{}, ""},
		{
			"a lost whiteout",
			faulty{unpacked: func(h *tar.Header) bool { return h.Name != ".wh.gone" }},
			`layer1-copy: mounted again: differs:
  "gone" is too many`,
		},
		{
			"a wrong owner",
			faulty{unpacked: func(h *tar.Header) bool { h.Gid = 0; return true }},
			`"new" is
    {Path:new Type:102 Mode:493 UID:1000 GID:0`,
		},
		{
			"a lost attribute",
			faulty{mounted: func(dir string) error {
				err := unix.Lremovexattr(dir+"/new", "user.a")
				if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODATA) {
					return nil
				}
				return err
			}},
			`Link: Xattrs:}
  the model has`,
		},
		{
			"a lost change",
			faulty{changed: func(c []differential.Change) []differential.Change { return c[1:] }},
			`Changes: differs:
  no `,
		},
		{
			"a change too many",
			faulty{changed: func(c []differential.Change) []differential.Change {
				return append(c, differential.Change{Path: "/none", Kind: differential.Modified})
			}},
			`"none" C, which nothing touched`,
		},
		{
			"a mount without a file",
			faulty{mounted: func(dir string) error { return os.RemoveAll(dir + "/l") }},
			`"l" is missing`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			script, err := differential.Parse(strings.NewReader(sample))
			if err != nil {
				t.Fatal(err)
			}
			counts, err := differential.Run(vfs(func(d differential.Driver) differential.Driver {
				test.fault.Driver = d
				return test.fault
			}), script, t.TempDir())
			switch {
			case test.want == "":
				if err != nil || counts.Layers != 2 || counts.Ops != 10 {
					t.Errorf("%+v, %v", counts, err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want):
				t.Errorf("%v\ndoes not say %q", err, test.want)
			}
		})
	}
}

const mixedSample = `
layer others 0b100
mkdir "d" 0o755
layer converted others 0b1
create "d/f" 0o640 100 1
layer on-copy read-only others 0b10
append "d/f" 1 2
remount
`

// TestRunMixed has two backends take turns, the other one once with a fault.
// Without a fault, everything must be done that the script says.
func TestRunMixed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners takes root")
	}
	fault := errors.New("the other backend's fault")
	for _, want := range []error{nil, fault} {
		script, err := differential.Parse(strings.NewReader(mixedSample))
		if err != nil {
			t.Fatal(err)
		}
		mounts := 0
		s := vfs(func(d differential.Driver) differential.Driver { return d })
		other := vfs(func(d differential.Driver) differential.Driver {
			return faulty{Driver: d, mounted: func(string) error {
				mounts++
				return want
			}}
		})
		s.Other = &other
		var done []string
		s.Convert = func(string) error {
			done = append(done, "converted")
			return nil
		}
		s.ReadOnly = func(_ string, ids []string) (func() error, error) {
			done = append(done, ids...)
			return func() error {
				done = append(done, "undone")
				return nil
			}, nil
		}
		counts, err := differential.Run(s, script, t.TempDir())
		if want != nil {
			if !errors.Is(err, want) || counts.ByOther != 1 {
				t.Errorf("%+v, %v", counts, err)
			}
			continue
		}
		// In the end, the other backend mounts all layers.
		if err != nil || counts.ByOther != 3 || mounts != 3+6 || counts.Conversions != 1 || counts.ReadOnly != 1 {
			t.Errorf("%d mounts, %+v, %v", mounts, counts, err)
		}
		if got := strings.Join(done, " "); got != "converted layer1-copy layer0 undone" {
			t.Errorf("it did %q", got)
		}
	}
}
