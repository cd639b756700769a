package listing

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode uint32) {
		t.Helper()
		file := filepath.Join(dir, name)
		must(t, os.WriteFile(file, []byte(text), 0o600))
		must(t, unix.Chmod(file, mode))
		must(t, os.Chtimes(file, time.Unix(7, 0), time.Unix(7, 5)))
	}
	must(t, unix.Chmod(dir, 0o700))
	write("f", "x", 0o4711)
	must(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
	must(t, os.Symlink("to \"it\"", filepath.Join(dir, "l")))
	must(t, unix.Mkfifo(filepath.Join(dir, "p q"), 0o600))

	var out bytes.Buffer
	must(t, Write(&out, dir))
	got := regexp.MustCompile(`\d+:\d+ `).ReplaceAllString(out.String(), "")
	sum := "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	want := strings.Join([]string{
		`d 0700 0 0 "." - - -`,
		`f 4711 1 7 "f" - ` + sum + ` -`,
		`f 4711 1 7 "g" ="f" ` + sum + ` -`,
		`l 0777 0 0 "l" "to \"it\"" - -`,
		`p 0600 0 0 "p q" - - -`,
		``,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWriteListsAttributesInOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, nil, 0o600))
	for key, value := range map[string]string{"user.b": "v\n", "user.a": "", "user.overlay.opaque": "y"} {
		if err := unix.Lsetxattr(file, key, []byte(value), 0); err != nil {
			t.Skipf("no user attributes here: %v", err)
		}
	}
	var out bytes.Buffer
	must(t, Write(&out, filepath.Dir(file)))
	if want := ` user.a="" user.b="v\n"` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("no %s in %s", want, out.String())
	}
	if value, err := Xattr(file, "user.none"); value != nil || err != nil {
		t.Errorf("an attribute that is not there is %q, %v", value, err)
	}
	if names, err := XattrNames(file + "-none"); names != nil || !errors.Is(err, unix.ENOENT) {
		t.Errorf("a file that is not there has %q, %v", names, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
