//go:build linux

package imagetest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// eachMember calls do with each member of an archive.
func eachMember(archive io.Reader, do func(*tar.Header, io.Reader) error) error {
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// members describes what is in an archive, in the order of the names. Of a
// whiteout it is the name alone: the rest means nothing. Times of directories are
// left out.
func members(t *testing.T, archive io.ReadCloser) []string {
	t.Helper()
	var lines []string
	err := eachMember(archive, func(h *tar.Header, content io.Reader) error {
		if strings.HasPrefix(path.Base(h.Name), whiteoutPrefix) {
			lines = append(lines, h.Name)
			return nil
		}
		sum, err := digest.FromReader(content)
		if h.Typeflag == tar.TypeDir {
			h.ModTime = time.Time{}
		}
		lines = append(lines, fmt.Sprintf("%s %c %o %d:%d %d:%d %d %q %s %q",
			h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Devmajor, h.Devminor, h.ModTime.Unix(), h.Linkname, sum, h.PAXRecords))
		return err
	})
	must(t, errors.Join(err, archive.Close()))
	slices.Sort(lines)
	return lines
}

// sameLines fails the test with the lines that only one of the two has.
func sameLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s has %q", what, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s does not have %q", what, line)
		}
	}
}
