import java.io.File;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Kafka Streams doing the job: broker, input, output, rejects, group, facts, threads, state directory, and what it
 * writes: "outputs" for the key, the headers and the partition of the gateway, "bare" for documents alone.
 */
public final class Peer {
    public static void main(String[] given) throws Exception {
        File facts = new File(given[5]);
        boolean outputs = given[8].equals("outputs");
        Normalise normalise = new Normalise(facts, outputs);
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given[4]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, given[6]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given[7]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 2_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 262_144);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        if (outputs) {
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "zstd");
            settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_ZSTD_LEVEL_CONFIG), 1);
        }
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> input = builder.stream(given[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()));
        if (outputs) {
            byte[] eventKey = Event.key(facts);
            input.process(() -> new Event(normalise, eventKey))
                    .to((key, value, context) -> Event.isDocument(context.headers()) ? given[2] : given[3],
                            Produced.with(Serdes.ByteArray(), Serdes.ByteArray()).withStreamPartitioner(
                                    (topic, key, value, count) -> Optional.of(Set.of(Event.partition(key, count)))));
        } else {
            bare(input, normalise, given[2], given[3]);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static void bare(KStream<byte[], byte[]> input, Normalise normalise, String output, String rejects) {
        Serializer<Normalise.Result> bytes = (topic, result) -> result.value();
        Deserializer<Normalise.Result> never = (topic, data) -> {
            throw new UnsupportedOperationException();
        };
        input.mapValues(normalise::apply)
                .to((key, result, context) -> result.accepted() ? output : rejects,
                        Produced.with(Serdes.ByteArray(), Serdes.serdeFrom(bytes, never)));
    }
}
