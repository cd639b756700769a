// Package migration brings a store that an earlier version of the driver has written to the layout of this version.
package migration
