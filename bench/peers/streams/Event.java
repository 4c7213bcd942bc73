import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.zip.CRC32;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** A document as an event of the gateway: keyed by its IRI, with the same nine headers. */
final class Event implements Processor<byte[], byte[], byte[], byte[]> {
    private static final byte[] TOPIC = utf8("europass.qualifications.v1");
    private static final byte[] VERSION = utf8("1.0");
    private static final byte[] SOURCE = utf8("/connectors/bench-peers/programmes");
    private static final byte[] TYPE = utf8("eu.europass.qualification.changed.v1");
    private static final byte[] SCHEMA = utf8("https://schemas.qualification-gateway.eu/europass.qualifications.v1.json");
    private static final byte[] JSON = utf8("application/json");
    private static final HexFormat HEX = HexFormat.of();

    private final Normalise normalise;
    private final byte[] eventKey;
    private final MessageDigest digest;
    private final ByteBuffer length = ByteBuffer.allocate(9);
    private ProcessorContext<byte[], byte[]> context;

    Event(Normalise normalise, byte[] eventKey) {
        this.normalise = normalise;
        this.eventKey = eventKey;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    /** The key of the gateway's event ids on this topic. */
    static byte[] key(File facts) throws IOException {
        return HEX.parseHex(new ObjectMapper().readTree(facts).get("event_key").asText());
    }

    /** Whether these are the headers of a document, and not those of a rejection. */
    static boolean isDocument(Headers headers) {
        return headers.lastHeader("provenance") != null;
    }

    static int partition(byte[] key, int count) {
        CRC32 checksum = new CRC32();
        checksum.update(key);
        return (int) (checksum.getValue() % count);
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> given) {
        context = given;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        Normalise.Result result = normalise.apply(record.value());
        if (!result.accepted()) {
            context.forward(new Record<>(record.key(), result.value(), record.timestamp()));
            return;
        }
        byte[] key = utf8(result.iri());
        byte[] content = contentId(key, result.value());
        byte[] event = eventId(content, record.headers().lastHeader("ce_id").value());
        Headers headers = new RecordHeaders().add("ce_specversion", VERSION).add("ce_id", event)
                .add("ce_contentid", content).add("ce_source", SOURCE).add("ce_type", TYPE).add("ce_subject", key)
                .add("ce_dataschema", SCHEMA).add("content-type", JSON).add("provenance", result.provenance());
        context.forward(new Record<>(key, result.value(), record.timestamp(), headers));
    }

    private byte[] contentId(byte[] key, byte[] value) {
        part(TOPIC);
        part(key);
        part(value);
        return half();
    }

    private byte[] eventId(byte[] content, byte[] received) {
        digest.update(eventKey);
        digest.update(content);
        digest.update(received);
        return half();
    }

    private void part(byte[] data) {
        digest.update(length.clear().put((byte) 1).putLong(data.length).array());
        digest.update(data);
    }

    private byte[] half() {
        return utf8(HEX.formatHex(digest.digest(), 0, 16));
    }
}
