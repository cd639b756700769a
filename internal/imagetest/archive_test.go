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

// members describes the members of an archive, in the order of their names. It
// gives only the name of a whiteout, because its other fields mean nothing. It
// leaves out the times of directories.
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

// sameLines fails the test with the lines that occur more often in one of the two lists.
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
