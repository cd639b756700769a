//go:build linux

package aufs

import (
	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// ApplyDiffWithDiffer has differ fill a staging directory, and returns that directory as the Target of the output. The
// caller passes the output to ApplyDiffFromStagingDirectory, or its Target to CleanupStagingDirectory, of the same
// driver. The driver's Cleanup also removes the directory, as does the next Init after a crash. After an error, the
// directory is gone.
func (d *Driver) ApplyDiffWithDiffer(options *graphdriver.ApplyDiffWithDifferOpts, differ graphdriver.Differ) (graphdriver.DriverWithDifferOutput, error) {
	if options == nil {
		options = &graphdriver.ApplyDiffWithDifferOpts{}
	}
	differOptions := &graphdriver.DifferOptions{
		Format:      graphdriver.DifferOutputFormatDir,
		UseFsVerity: graphdriver.DifferFsVerityDisabled,
	}
	mappings := storagelib.Mappings(options.Mappings)
	unpack := d.core.UnpackOptions(driver.ApplyOptions{Mappings: mappings, IgnoreChownErrors: options.IgnoreChownErrors, ForceMask: options.ForceMask})
	var output graphdriver.DriverWithDifferOutput
	target, err := d.core.Stage(mappings, func(target, scratch string) (err error) {
		setStagingDirectory(differOptions, scratch)
		output, err = differ.ApplyDiff(target, storagelib.TarOptions(unpack), differOptions)
		return err
	})
	if err == nil {
		output.Target = target
	}
	return output, ofLibrary(err)
}

// ApplyDiffFromStagingDirectory makes output.Target the content of the layer. The layer must be empty and not mounted,
// parent must be its parent, and the Target must be a staging directory of this driver.
//
// The layer gets all of the content or nothing, and all of it is on disk when the method returns. If the layer cannot
// take the content (it is unknown, not empty or mounted, has a quota or another parent, was mounted with id maps, or is
// in an image store), the staging directory stays, and can be applied to another layer. After any other error, it is
// gone.
func (d *Driver) ApplyDiffFromStagingDirectory(id, parent string, output *graphdriver.DriverWithDifferOutput, _ *graphdriver.ApplyDiffWithDifferOpts) error {
	return ofLibrary(d.core.ApplyStaged(id, parent, output.Target, output.RootDirMode != nil))
}

// CleanupStagingDirectory removes a staging directory and everything in it. If the directory is gone, or has become a
// layer's directory, that is no error. It is an error if another driver is using the directory, or if target is not a
// staging directory.
func (d *Driver) CleanupStagingDirectory(target string) error {
	return ofLibrary(d.core.CleanupStagingDirectory(target))
}

// DifferTarget returns the directory that holds the layer's files, whiteouts included. The caller must not change it.
func (d *Driver) DifferTarget(id string) (string, error) {
	dir, err := d.core.DifferTarget(id)
	return dir, ofLibrary(err)
}
