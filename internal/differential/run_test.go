//go:build linux

package differential

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
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/containers/storage/pkg/reexec"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	// The library unpacks archives in a child of this very program.
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// sample has something of all that an archive carries, and deletions.
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

// vfs opens the storage library's driver that needs no mounts, through what
// wrap makes of it.
func vfs(wrap func(graphdriver.Driver) graphdriver.Driver) Subject {
	return Subject{Open: func(home string) (graphdriver.Driver, error) {
		d, err := graphdriver.GetDriver("vfs", graphdriver.Options{Root: home, RunRoot: home + "-run"})
		if err != nil {
			return nil, err
		}
		return wrap(d), nil
	}}
}

// faulty is a driver with a fault.
type faulty struct {
	graphdriver.Driver
	// unpacked changes an entry of an archive that is applied, or drops it.
	unpacked func(*tar.Header) (keep bool)
	// changed changes what Changes returns.
	changed func([]archive.Change) []archive.Change
	// mounted changes what a mount shows.
	mounted func(dir string) error
}

// filtered are the options of an ApplyDiff with what is left of the archive.
func (f faulty) filtered(options graphdriver.ApplyDiffOpts) (graphdriver.ApplyDiffOpts, error) {
	if f.unpacked == nil {
		return options, nil
	}
	diff, err := filter(options.Diff, f.unpacked)
	options.Diff = diff
	return options, err
}

func (f faulty) Changes(id string, ids *idtools.IDMappings, parent string, parentIDs *idtools.IDMappings, label string) ([]archive.Change, error) {
	changes, err := f.Driver.Changes(id, ids, parent, parentIDs, label)
	if f.changed != nil {
		changes = f.changed(changes)
	}
	return changes, err
}

func (f faulty) Get(id string, options graphdriver.MountOpts) (string, error) {
	dir, err := f.Driver.Get(id, options)
	if err == nil && f.mounted != nil {
		err = f.mounted(dir)
	}
	return dir, err
}

// filter passes an archive on, as keep leaves its entries.
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

// TestRun has a driver without faults, and some with one each, of which Run
// has to say what is wrong.
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
			faulty{changed: func(c []archive.Change) []archive.Change { return c[1:] }},
			`Changes: differs:
  no `,
		},
		{
			"a change too many",
			faulty{changed: func(c []archive.Change) []archive.Change { return append(c, archive.Change{Path: "/none"}) }},
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
			script, err := Parse(strings.NewReader(sample))
			if err != nil {
				t.Fatal(err)
			}
			counts, err := Run(vfs(func(d graphdriver.Driver) graphdriver.Driver {
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

// TestRunMixed has two backends take turns, one of them with and without a
// fault, and wants what the script says to be done.
func TestRunMixed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing owners takes root")
	}
	fault := errors.New("the other backend's fault")
	for _, want := range []error{nil, fault} {
		script, err := Parse(strings.NewReader(mixedSample))
		if err != nil {
			t.Fatal(err)
		}
		mounts := 0
		s := vfs(func(d graphdriver.Driver) graphdriver.Driver { return d })
		other := vfs(func(d graphdriver.Driver) graphdriver.Driver {
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
		counts, err := Run(s, script, t.TempDir())
		if want != nil {
			if !errors.Is(err, want) || counts.ByOther != 1 {
				t.Errorf("%+v, %v", counts, err)
			}
			continue
		}
		// In the end all layers are mounted by the other one.
		if err != nil || counts.ByOther != 3 || mounts != 3+6 || counts.Conversions != 1 || counts.ReadOnly != 1 {
			t.Errorf("%d mounts, %+v, %v", mounts, counts, err)
		}
		if got := strings.Join(done, " "); got != "converted layer1-copy layer0 undone" {
			t.Errorf("it did %q", got)
		}
	}
}
