//go:build linux && (amd64 || arm64)

package aufs

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// errorsDocument is the document that lists the errors for users.
//
//go:embed docs/errors.md
var errorsDocument string

// An errorText is an error that a user can bring about.
type errorText struct {
	// name is the name of the subtest.
	name string
	// only is the backend that has this error, or "" if both have it, with the same text.
	only backend.Name
	// words have to be in the text: the operation, the layer and the path.
	words []string
	// is are errors that the error has to match.
	is []error
	// provoke returns the error.
	provoke func(s *errorStore) error
	// child says in what process provoke runs. The zero value stands for the process of the test.
	child childProcess
	// harmless says that provoke changes nothing in the store. Such rows share a store.
	harmless bool
	// xattrs says that the error comes about only on a file system with user attributes, and shifts that it does only if mounts can shift owners.
	xattrs, shifts bool
	// devices says that it comes about only if a user namespace can make whiteouts of overlayfs, devices 0/0: since Linux 5.8.
	devices bool
}

// A childProcess is a process of its own for an error that this process cannot bring about.
type childProcess struct {
	// denied are system calls that fail in the process with errno.
	denied []uintptr
	errno  unix.Errno
	// opened says that the store is opened before they fail.
	opened bool
	// nested puts the process into a user namespace and a mount namespace of its own.
	nested bool
}

// An errorStore is a store in which an error is brought about. It has the layers base and, on top of base, child and sibling. The layer base has
// the file f, and the directory d with a file g. The other layers are empty.
type errorStore struct {
	T *testing.T
	graphdriver.Driver
	// core is another driver on the same store, with the methods that only the second module has.
	core *driver.Driver
	home string
	name backend.Name
	// onClose ends what keeps the store busy.
	onClose []func() error
}

// in returns a path in the store.
func (s *errorStore) in(elem ...string) string {
	return filepath.Join(append([]string{s.home}, elem...)...)
}

// open opens the store again.
func (s *errorStore) open(options ...string) error {
	_, err := Init(s.home, optionsFor(s.name, options...))
	return err
}

// newErrorStore makes an errorStore below dir.
func newErrorStore(t *testing.T, dir string, name backend.Name) *errorStore {
	t.Helper()
	s := &errorStore{T: t, home: filepath.Join(dir, "home"), name: name}
	var err error
	s.Driver, err = Init(s.home, optionsFor(name))
	must(t, err)
	s.core, err = driver.Open(s.home, driver.Config{Backend: name, Library: storageLibrary()})
	must(t, err)
	must(t, s.Create("base", "", nil))
	apply(t, s, "base", "", graphdriver.ApplyDiffOpts{}, entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/g", Content: "g"})
	must(t, errors.Join(s.CreateReadWrite("child", "base", nil), s.CreateReadWrite("sibling", "base", nil)))
	return s
}

// close takes down whatever is mounted in the store.
func (s *errorStore) close() {
	s.T.Helper()
	for _, end := range s.onClose {
		must(s.T, end())
	}
	must(s.T, errors.Join(s.Cleanup(), s.core.Cleanup()))
	noMounts(s.T, s.home)
}

// childVariable is the environment variable that tells a childProcess what to do: the backend, the row, and the directory of the store.
const childVariable = "AUFS_TEST_ERROR_TEXT"

// TestErrorTexts brings about the errors that users can meet. Each error has to name the operation, the layer and the path, and has to match its
// cause. docs/errors.md has to have the texts of all these errors, and no others.
func TestErrorTexts(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 3 {
		inChild(t, backend.Name(args[0]), args[1], args[2])
		return
	}
	documented := documentedErrors(t)
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		// The name of a subtest can have characters that aufs cannot parse in a path.
		top, provoked, all := t.TempDir(), map[string]bool{}, true
		shared := newErrorStore(t, filepath.Join(top, "shared"), name)
		defer func() {
			shared.T = t
			shared.close()
		}()
		for n, row := range errorTexts() {
			if row.only != "" && row.only != name {
				continue
			}
			if row.xattrs && !storetest.HasUserXattrs(t) || row.shifts && !shared.core.SupportsShifting(nil) || row.devices && !fsutil.KernelFrom(5, 8) {
				all = false
				continue
			}
			// A row that -run leaves out, or that is skipped, says nothing about the document.
			done := false
			t.Run(row.name, func(t *testing.T) {
				text := ""
				if row.harmless {
					shared.T = t
					text = shared.check(row, row.provoke(shared))
				} else {
					text = textOf(t, row, name, filepath.Join(top, strconv.Itoa(n)))
				}
				t.Logf("%s", text)
				provoked[text], done = true, true
				if only, ok := documented[text]; !ok || only != row.only {
					t.Errorf("docs/errors.md does not have this error, for %q:\n%s", row.only, text)
				}
			})
			all = all && done
		}
		for text, only := range documented {
			if (only == "" || only == name) && !provoked[text] && all {
				t.Errorf("docs/errors.md has an error that nothing brings about: %s", text)
			}
		}
	})
}

// textOf brings the error of a row about, in the directory dir, and returns its text without what is different each time.
func textOf(t *testing.T, row errorText, name backend.Name, dir string) string {
	t.Helper()
	s := newErrorStore(t, dir, name)
	if row.child.errno == 0 && !row.child.nested {
		defer s.close()
		return s.check(row, row.provoke(s))
	}
	must(t, s.Cleanup())
	args := []string{"/proc/self/exe", "-test.run=^TestErrorTexts$", "-test.v"}
	if row.child.nested {
		args = append([]string{"unshare", "-U", "-r", "-m"}, args...)
		args[4] = os.Args[0]
	}
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s", childVariable, name, row.name, dir))
	out, err := c.CombinedOutput()
	text, rerr := os.ReadFile(filepath.Join(dir, "text"))
	if err != nil || rerr != nil {
		t.Fatalf("%v\n%v\n%s", err, rerr, out)
	}
	s.close()
	return string(text)
}

// check fails the test unless the error of a row is as users are promised. It returns the error's text without what is different each time.
func (s *errorStore) check(row errorText, err error) string {
	s.T.Helper()
	if err == nil {
		s.T.Fatal("there is no error")
	}
	for _, is := range row.is {
		if !errors.Is(err, is) {
			s.T.Errorf("%v\n is no %v", err, is)
		}
	}
	text := s.withoutChance(err.Error())
	if !strings.HasPrefix(text, "aufs: ") {
		s.T.Errorf("it does not begin with the name of the driver: %s", text)
	}
	for _, word := range row.words {
		if !strings.Contains(text, word) {
			s.T.Errorf("it does not say %q: %s", word, text)
		}
	}
	saidOnce(s.T, text)
	return text
}

// unclear finds words that make a reader ask what they stand for. It also finds line breaks, and the %! of
// a wrong format.
var unclear = regexp.MustCompile(`\b(it|its|one|that of|those|what is left)\b|%!|\n`)

// saidOnce fails the test if a text says something twice, or has words that say nothing to a reader of one line.
func saidOnce(t *testing.T, text string) {
	t.Helper()
	// With backend=auto, there is one part for each backend.
	for _, part := range strings.Split(text, "; ") {
		reasons := strings.Split(part, ": ")
		for n, reason := range reasons {
			if slices.Contains(reasons[:n], reason) {
				t.Errorf("it says %q twice: %s", reason, text)
			}
		}
	}
	if word := unclear.FindString(text); word != "" {
		t.Errorf("it says %q: %s", word, text)
	}
}

// chance finds what is different each time, with what stands for it in the document.
var chance = []struct {
	found *regexp.Regexp
	is    string
}{
	{regexp.MustCompile(`process \d+ \([^)]*\)`), "process PID (PROGRAM)"},
	{regexp.MustCompile(`/tmp/([a-z]+)-\d+(/\d+)?`), "/tmp/$1-N"},
	{regexp.MustCompile(`which is on [^,]*,`), "which is on FILESYSTEM,"},
	{regexp.MustCompile(`(prjquota, or leave the option out): .*`), "$1: REASON"},
	{regexp.MustCompile(`mount overlayfs on [^;]*;`), "mount overlayfs on FILESYSTEM;"},
	{regexp.MustCompile(`, flags 0x[0-9a-f]+`), ""},
	{regexp.MustCompile(`, data "(\\.|[^"])*"`), ""},
	{regexp.MustCompile(` \(the kernel says: [^)]*\)`), ""},
	{regexp.MustCompile(`aufs allows \d+`), "aufs allows N"},
	{regexp.MustCompile(`\b(fsconfig|fsmount|move_mount|fsopen|mount) (for )?(HOME|DIR)`), "mount $3"},
	{regexp.MustCompile(`context no:label:at:all: `), ""},
	{regexp.MustCompile(`n{100,}`), "NAME"},
}

// withoutChance replaces in a text what is different each time.
func (s *errorStore) withoutChance(text string) string {
	text = strings.ReplaceAll(text, s.home, "HOME")
	text = strings.ReplaceAll(text, filepath.Dir(s.home), "DIR")
	for _, c := range chance {
		text = c.found.ReplaceAllString(text, c.is)
	}
	return text
}

// documentedErrors returns the texts of errors in docs/errors.md, with the backend that alone has the error, or "".
func documentedErrors(t *testing.T) map[string]backend.Name {
	t.Helper()
	found := map[string]backend.Name{}
	rowOf := regexp.MustCompile("^\\| `(aufs: .*)` \\| (.+) \\| (.+) \\|$")
	for _, line := range strings.Split(errorsDocument, "\n") {
		m := rowOf.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "| `") {
				t.Errorf("docs/errors.md: this row has not three columns: %s", line)
			}
			continue
		}
		text, only := strings.ReplaceAll(m[1], `\|`, "|"), backend.Name("")
		for _, name := range []backend.Name{backend.Aufs, backend.Overlay} {
			if strings.HasPrefix(m[2], "*"+string(name)+" backend only:* ") {
				only = name
			}
		}
		if _, twice := found[text]; twice {
			t.Errorf("docs/errors.md has this error twice: %s", text)
		}
		found[text] = only
	}
	if len(found) == 0 {
		t.Fatal("docs/errors.md has no errors")
	}
	return found
}
