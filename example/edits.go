package main

import "path"

// op is a kind of edit.
type op string

// The edits that the program makes in a container. An edit that writes to a
// regular file sets its modification time to editTime, so that two trees with the
// same edits are equal even if the edits came at different times.
const (
	opAppend     op = "append"      // Appends Text.
	opOverwrite  op = "overwrite"   // Truncates and writes Text; creates a missing file.
	opChmod      op = "chmod"       // Sets Mode.
	opChown      op = "chown"       // Gives the file to editUID and editGID.
	opTouch      op = "touch"       // Sets the modification time.
	opXattr      op = "set xattr"   // Sets user.example to Text.
	opRemove     op = "remove"      // Removes the path and everything below it.
	opReplaceDir op = "replace"     // Removes a directory and makes one with other files.
	opRename     op = "rename"      // Moves Path to To.
	opLink       op = "hard link"   // Makes To another name of Path.
	opSymlink    op = "symlink"     // Makes Path a symlink to To.
	opMkdir      op = "make dir"    // Makes a directory.
	opFifo       op = "make a fifo" // Makes a named pipe.
)

// The time, the user and the group that the edits set.
const (
	editTime = 1_700_000_000
	editUID  = 1234
	editGID  = 5678
)

// edit is one step in a container. Op determines which fields count.
type edit struct {
	Op   op
	Path string
	To   string
	Text string
	Mode uint32
}

// planEdits returns the edits for an image that shows the given tree: fixed
// edits of the fixtures, and then edits of files spread over the input.
func planEdits(image tree, can abilities) []edit {
	return append(fixtureEdits(can), inputEdits(image)...)
}

// fixtureEdits returns the edits below fixtureDir.
func fixtureEdits(can abilities) []edit {
	edits := append(simpleEdits(), shapeEdits()...)
	edits = append(edits, linkEdits()...)
	if can.DirOverFile {
		edits = append(edits, edit{Op: opOverwrite, Path: "edit/to-dir/file", Text: "below what was a file\n"})
	}
	if can.UserXattr {
		edits = append(edits,
			edit{Op: opXattr, Path: "edit/xattr", Text: "from the container"},
			edit{Op: opXattr, Path: "with-xattr", Text: "changed"})
	}
	for i := range edits {
		edits[i].Path = path.Join(fixtureDir, edits[i].Path)
		if edits[i].Op != opSymlink && edits[i].To != "" {
			edits[i].To = path.Join(fixtureDir, edits[i].To)
		}
	}
	return edits
}

// simpleEdits returns edits that change one file each.
func simpleEdits() []edit {
	return []edit{
		{Op: opAppend, Path: "edit/append", Text: "and a line from the container\n"},
		{Op: opAppend, Path: "edit/second-layer", Text: "and a line from the container\n"},
		{Op: opOverwrite, Path: "edit/overwrite", Text: "written by the container\n"},
		{Op: opOverwrite, Path: "edit/new", Text: "made by the container\n"},
		{Op: opChmod, Path: "edit/chmod", Mode: 0o4711},
		{Op: opChmod, Path: "edit/chmod-dir", Mode: 0o1777},
		{Op: opChown, Path: "edit/chown"},
		{Op: opTouch, Path: "edit/touch"},
		{Op: opRemove, Path: "edit/remove"},
		{Op: opRename, Path: "edit/rename", To: "edit/renamed"},
		{Op: opFifo, Path: "edit/new-fifo", Mode: 0o600},
	}
}

// shapeEdits returns edits that change directories, turn a file into a directory, and turn a directory into a symlink.
func shapeEdits() []edit {
	return []edit{
		{Op: opRemove, Path: "edit/remove-dir"},
		{Op: opReplaceDir, Path: "edit/replace-dir"},
		{Op: opReplaceDir, Path: "replaced"},
		{Op: opRemove, Path: "edit/to-dir"},
		{Op: opMkdir, Path: "edit/to-dir", Mode: 0o750},
		{Op: opRemove, Path: "edit/to-symlink"},
		{Op: opSymlink, Path: "edit/to-symlink", To: "replace-dir/new"},
		{Op: opMkdir, Path: "edit/dir-1", Mode: 0o700},
		{Op: opOverwrite, Path: "edit/dir-1/file", Text: "in a directory that was renamed\n"},
		{Op: opRename, Path: "edit/dir-1", To: "edit/dir-2"},
	}
}

// linkEdits returns edits that make hard links and write to a file through one of its names.
func linkEdits() []edit {
	return []edit{
		{Op: opLink, Path: "edit/link", To: "edit/link-2"},
		{Op: opAppend, Path: "edit/link-2", Text: "written by the new name\n"},
		{Op: opOverwrite, Path: "edit/own-1", Text: "two names, both the container's\n"},
		{Op: opLink, Path: "edit/own-1", To: "edit/own-2"},
		{Op: opAppend, Path: "edit/own-1", Text: "written by the first\n"},
		{Op: opAppend, Path: "linked/by-a", Text: "written by a\n"},
	}
}

// inputEdits returns edits that delete a whole directory of the input, and
// change files spread over the rest in different ways.
func inputEdits(image tree) []edit {
	var edits []edit
	gone := dirToRemove(image)
	if gone != "" {
		edits = append(edits, edit{Op: opRemove, Path: gone})
	}
	for i, p := range sampleFiles(image, gone) {
		edits = append(edits, inputEdit(i, p))
	}
	return edits
}

// inputEdit returns the edit for the i-th file of the sample.
func inputEdit(i int, p string) edit {
	switch i % 6 {
	case 0:
		return edit{Op: opAppend, Path: p, Text: "# edited\n"}
	case 1:
		return edit{Op: opChmod, Path: p, Mode: 0o705}
	case 2:
		return edit{Op: opChown, Path: p}
	case 3:
		return edit{Op: opRemove, Path: p}
	case 4:
		return edit{Op: opRename, Path: p, To: p + ".renamed"}
	default:
		return edit{Op: opTouch, Path: p}
	}
}

// dirToRemove picks a directory of the input that holds some files, but not most of the input.
func dirToRemove(image tree) string {
	count := map[string]int{}
	for p := range image {
		for _, dir := range ancestors(p) {
			count[dir]++
		}
	}
	for _, p := range image.paths() {
		if n := count[p]; n > 0 && n <= min(200, len(image)/4) && !under(p, fixtureDir) {
			return p
		}
	}
	return ""
}

// sampleFiles picks up to sixty regular files of the input, evenly spread. It
// skips the directory gone, and files with several names or with attributes,
// because a write drops a capability.
func sampleFiles(image tree, gone string) []string {
	const most = 60
	var files []string
	for _, p := range image.paths() {
		e := image[p]
		plain := e.Kind == kindFile && e.Link == "" && len(e.Xattrs) == 0
		if plain && !under(p, fixtureDir) && (gone == "" || !under(p, gone)) {
			files = append(files, p)
		}
	}
	step := max((len(files)+most-1)/most, 1)
	var sample []string
	for i := 0; i < len(files); i += step {
		sample = append(sample, files[i])
	}
	return sample
}
