package main

import (
	"context"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

var inputSpec = service.NewConfigSpec().
	Field(service.NewStringField("broker")).
	Field(service.NewStringField("topic")).
	Field(service.NewStringField("group")).
	Field(service.NewIntField("batch"))

var outputSpec = service.NewConfigSpec().
	Field(service.NewStringField("broker")).
	Field(service.NewInterpolatedStringField("topic"))

// input reads one topic as a member of a group. A batch's records are marked once the batch was written; marks are committed each
// 200 ms: at least once.
type input struct {
	options []kgo.Opt
	batch   int
	client  *kgo.Client
}

func newInput(conf *service.ParsedConfig, _ *service.Resources) (service.BatchInput, error) {
	broker, err := conf.FieldString("broker")
	must(err)
	topic, err := conf.FieldString("topic")
	must(err)
	group, err := conf.FieldString("group")
	must(err)
	batch, err := conf.FieldInt("batch")
	must(err)
	return &input{batch: batch, options: []kgo.Opt{
		kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(200 * time.Millisecond),
		kgo.FetchMaxPartitionBytes(1 << 20),
	}}, nil
}

func (i *input) Connect(context.Context) (err error) {
	i.client, err = kgo.NewClient(i.options...)
	return err
}

func (i *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	fetches := i.client.PollRecords(ctx, i.batch)
	if ctx.Err() != nil || fetches.IsClientClosed() {
		return nil, nil, service.ErrNotConnected
	}
	records := fetches.Records()
	batch := make(service.MessageBatch, len(records))
	for at, record := range records {
		batch[at] = service.NewMessage(record.Value)
		batch[at].MetaSetMut("kafka_key", string(record.Key))
	}
	return batch, func(_ context.Context, err error) error {
		if err == nil {
			i.client.MarkCommitRecords(records...)
		}
		return nil
	}, nil
}

func (i *input) Close(context.Context) error {
	i.client.Close()
	return nil
}

// output writes each message to the topic it names, all of a batch at once, idempotently, acknowledged by all replicas.
type output struct {
	broker string
	topic  *service.InterpolatedString
	client *kgo.Client
}

func newOutput(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	broker, err := conf.FieldString("broker")
	must(err)
	topic, err := conf.FieldInterpolatedString("topic")
	must(err)
	return &output{broker: broker, topic: topic}, service.BatchPolicy{}, 8, nil
}

func (o *output) Connect(context.Context) (err error) {
	o.client, err = kgo.NewClient(kgo.SeedBrokers(o.broker), kgo.ProducerBatchCompression(kgo.NoCompression()))
	return err
}

func (o *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	records := make([]*kgo.Record, len(batch))
	topics := batch.InterpolationExecutor(o.topic)
	for at, message := range batch {
		value, err := message.AsBytes()
		if err != nil {
			return err
		}
		topic, err := topics.TryString(at)
		if err != nil {
			return err
		}
		key, _ := message.MetaGet("kafka_key")
		records[at] = &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
	}
	return o.client.ProduceSync(ctx, records...).FirstErr()
}

func (o *output) Close(context.Context) error {
	o.client.Close()
	return nil
}
