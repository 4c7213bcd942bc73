// Benthos, the engine of Redpanda Connect, with the components that the comparison needs: topics in batches through franz-go, the
// client Redpanda Connect itself uses, and parse_xml with the library it uses for that.
package main

import (
	"context"

	"github.com/clbanning/mxj/v2"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	must(service.RegisterBatchInput("topic", inputSpec, newInput))
	must(service.RegisterBatchOutput("topics", outputSpec, newOutput))
	must(bloblang.RegisterMethodV2("parse_xml", bloblang.NewPluginSpec(), func(*bloblang.ParsedParams) (bloblang.Method, error) {
		return bloblang.BytesMethod(func(document []byte) (any, error) {
			found, err := mxj.NewMapXml(document, false)
			return map[string]any(found), err
		}), nil
	}))
	service.RunCLI(context.Background())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
