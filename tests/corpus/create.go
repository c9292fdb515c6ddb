// Creates a zip archive of a directory: create WAY SOURCE ARCHIVE.
package main

import (
	"archive/zip"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func check(err error) {
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

func main() {
	way, source := os.Args[1], os.Args[2]
	output, err := os.Create(os.Args[3])
	check(err)
	writer := zip.NewWriter(output)
	check(writer.SetComment("made by Go"))
	check(filepath.Walk(source, func(path string, info os.FileInfo, err error) error {
		check(err)
		name, err := filepath.Rel(source, path)
		check(err)
		if name == "." {
			return nil
		}
		if way == "names" { // Create() knows neither modes nor links.
			if info.Mode().IsRegular() {
				made, err := writer.Create(name)
				check(err)
				data, err := os.ReadFile(path)
				check(err)
				_, err = made.Write(data)
				check(err)
			}
			return nil
		}
		header, err := zip.FileInfoHeader(info)
		check(err)
		header.Name = name
		if info.IsDir() {
			header.Name += "/"
		} else if way == "deflate" {
			header.Method = zip.Deflate
		}
		made, err := writer.CreateHeader(header)
		check(err)
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			check(err)
			_, err = io.Copy(made, strings.NewReader(target))
			check(err)
		} else if info.Mode().IsRegular() {
			file, err := os.Open(path)
			check(err)
			_, err = io.Copy(made, file)
			check(err)
			check(file.Close())
		}
		return nil
	}))
	check(writer.Close())
	check(output.Close())
}
