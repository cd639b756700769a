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

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// members describes what is in an archive, in the order of the names. Of a
// whiteout it is the name alone: the rest means nothing. Times of directories are
// left out.
func members(t *testing.T, archive io.ReadCloser) []string {
	t.Helper()
	var lines []string
	err := layout.EachMember(archive, func(h *tar.Header, content io.Reader) error {
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

// sameLines fails the test with the lines of which one of the two has more.
func sameLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	more := map[string]int{}
	for _, line := range got {
		more[line]++
	}
	for _, line := range want {
		more[line]--
	}
	for line, n := range more {
		if n != 0 {
			t.Errorf("%s has %q %+d times", what, line, n)
		}
	}
}
