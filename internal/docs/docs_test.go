// Package docs tests the documents of the repository.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// mostREADME is how many bytes README.md may have. Longer texts are for docs/.
const mostREADME = 7168

// A document is a Markdown file, taken apart.
type document struct {
	prose    []string        // its lines without code
	code     []string        // lines of its code blocks, and code spans
	headings map[string]bool // the anchors of its headings
}

// documents returns all Markdown files of the repository, by their paths below root.
func documents(t *testing.T) map[string]document {
	t.Helper()
	found := map[string]document{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case rel == ".git" || rel == "build":
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		found[rel] = parse(string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", filepath.Join("docs", "design.md")} {
		if len(found[name].headings) == 0 {
			t.Fatalf("%s is not among the documents, or has no headings", name)
		}
	}
	return found
}

var (
	span    = regexp.MustCompile("`([^`]+)`")
	heading = regexp.MustCompile("^#{1,6} +(.+)$")
)

// parse takes a Markdown text apart.
func parse(text string) document {
	d := document{headings: map[string]bool{}}
	fenced := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
			continue
		case fenced || strings.HasPrefix(line, "    "):
			d.code = append(d.code, strings.TrimSpace(line))
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			d.headings[anchor(m[1])] = true
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			d.code = append(d.code, m[1])
		}
		d.prose = append(d.prose, span.ReplaceAllString(line, ""))
	}
	return d
}

// anchor returns the anchor that GitHub gives a heading. It does not tell two headings with the same text apart.
func anchor(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(text))
}

// link is a link in prose: [text](target).
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks follows the relative links of all documents, to files and to headings.
func TestLinks(t *testing.T) {
	all, followed := documents(t), 0
	for name, d := range all {
		for _, m := range link.FindAllStringSubmatch(strings.Join(d.prose, "\n"), -1) {
			target := m[1]
			if strings.Contains(target, "://") {
				continue
			}
			followed++
			path, heading, toHeading := strings.Cut(target, "#")
			rel := name
			if path != "" {
				rel = filepath.Join(filepath.Dir(name), path)
			}
			if _, err := os.Stat(filepath.Join(root, rel)); err != nil {
				t.Errorf("%s: the link to %s: %v", name, target, err)
			} else if toHeading && !all[rel].headings[heading] {
				t.Errorf("%s: the link to %s: %s has no such heading", name, target, rel)
			}
		}
	}
	if followed == 0 {
		t.Error("there are no links")
	}
}

// TestREADMEIsShort checks that README.md has at most mostREADME bytes.
func TestREADMEIsShort(t *testing.T) {
	info, err := os.Stat(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > mostREADME {
		t.Errorf("README.md has %d bytes, and may have %d; move some of it to docs/", info.Size(), mostREADME)
	}
}

var (
	// command is a command in a document that makes a target.
	command = regexp.MustCompile(`^make (?:[A-Z_]+=\S+ +)*([a-z][a-z-]*)`)
	// rule is the first line of a rule in a makefile.
	rule = regexp.MustCompile(`(?m)^([a-z][a-z-]*):(?:[^=]|$)`)
)

// TestTargets looks for the targets of make that the documents name.
func TestTargets(t *testing.T) {
	makefiles, err := filepath.Glob(filepath.Join(root, "make", "*.mk"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, path := range append(makefiles, filepath.Join(root, "Makefile")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range rule.FindAllStringSubmatch(string(text), -1) {
			targets[m[1]] = true
		}
	}
	named := 0
	for name, d := range documents(t) {
		for _, line := range d.code {
			m := command.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			named++
			if !targets[m[1]] {
				t.Errorf("%s: %q: the makefiles have no such target", name, line)
			}
		}
	}
	if named == 0 {
		t.Error("the documents name no target")
	}
}
