import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.File;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The job as Java would be written for it: a tree in, a tree out, vocabulary nodes made once. */
final class Normalise {
    record Level(String from, String until, JsonNode eqf, JsonNode nqf, JsonNode lookup) {}

    record Credit(String from, String until, BigDecimal ects, JsonNode lookup) {}

    /** The document of a record with its IRI and provenance, or the reason why there is none. */
    record Result(boolean accepted, byte[] value, String iri, byte[] provenance) {}

    private static final String SNB = "http://data.europa.eu/snb/";
    private static final String AUTHORITY = "http://publications.europa.eu/resource/authority/";
    private static final DateTimeFormatter SECONDS = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss'Z'");
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final ObjectMapper mapper = new ObjectMapper();
    private final Map<String, List<Level>> levels = new HashMap<>();
    private final Map<String, List<Credit>> credits = new HashMap<>();
    private final Map<String, JsonNode> languages = new HashMap<>();
    private final Map<String, JsonNode> countries = new HashMap<>();
    private final Map<String, JsonNode> modes = new HashMap<>();
    private final Map<String, JsonNode> fields = new HashMap<>();
    private final JsonNode context;
    private final JsonNode formal;
    private final JsonNode ects;
    private final JsonNode lookups;
    private final String configDigest;
    private final String tablesDigest;
    private final boolean withProvenance;

    Normalise(File facts, boolean withProvenance) throws IOException {
        JsonNode found = mapper.readTree(facts);
        this.withProvenance = withProvenance;
        lookups = found.get("lookups");
        configDigest = found.get("config_digest").asText();
        tablesDigest = found.get("tables_digest").asText();
        context = found.get("context");
        for (Map.Entry<String, JsonNode> entry : found.get("levels").properties()) {
            List<Level> rows = new ArrayList<>();
            for (JsonNode row : entry.getValue()) {
                rows.add(new Level(row.get("from").asText(), row.get("until").asText(),
                        snb("eqf", row.get("eqf").asText()), snb("qdr", row.get("nqf").asText()),
                        lookups.get(row.get("row").asText())));
            }
            levels.put(entry.getKey(), rows);
        }
        for (Map.Entry<String, JsonNode> entry : found.get("credits").properties()) {
            List<Credit> rows = new ArrayList<>();
            for (JsonNode row : entry.getValue()) {
                rows.add(new Credit(row.get("from").asText(), row.get("until").asText(), row.get("ects").decimalValue(),
                        lookups.get(row.get("row").asText())));
            }
            credits.put(entry.getKey(), rows);
        }
        found.get("languages").properties().forEach(entry -> languages.put(entry.getKey(), authority("language", entry.getValue())));
        found.get("countries").properties().forEach(entry -> countries.put(entry.getKey(), authority("country", entry.getValue())));
        found.get("modes").properties().forEach(entry ->
                modes.put(entry.getKey(), snb("learning-assessment", SNB + "learning-assessment/" + entry.getValue().asText())));
        formal = snb("learning-setting", SNB + "learning-setting/" + found.get("formal").asText());
        ects = snb("education-credit", SNB + "education-credit/" + found.get("ects").asText());
    }

    private static JsonNode snb(String vocabulary, String id) {
        return concept(id, SNB + vocabulary + "/25831c2");
    }

    private static JsonNode authority(String vocabulary, JsonNode id) {
        return concept(id.asText(), AUTHORITY + vocabulary);
    }

    private static JsonNode concept(String id, String scheme) {
        ObjectNode node = node(id, "Concept");
        node.set("inScheme", node(scheme, "ConceptScheme"));
        return node;
    }

    private static ObjectNode node(String id, String type) {
        return NODES.objectNode().put("id", id).put("type", type);
    }

    Result apply(byte[] body) {
        try {
            return document(mapper.readTree(body));
        } catch (IOException error) {
            return rejected("", "not_json");
        }
    }

    private Result rejected(String field, String reason) {
        try {
            return new Result(false, mapper.writeValueAsBytes(NODES.objectNode().put("field", field).put("reason", reason)), null, null);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private Result document(JsonNode record) throws IOException {
        String begins = day(record.path("begins").asText());
        if (begins == null) {
            return rejected("valid_from", "not_a_date");
        }
        JsonNode title = record.path("title");
        if (title.isMissingNode() || title.isEmpty()) {
            return rejected("title", "missing");
        }
        String country = record.path("body").path("country").asText();
        JsonNode stated = record.path("level");
        Level level = level(country + "|" + stated.path("scheme").asText() + "|" + stated.path("value").asText(), begins);
        if (level == null) {
            return rejected("nqf_level", "level_unknown");
        }
        JsonNode earned = record.path("credits");
        Credit unit = unit(country + "|" + earned.path("unit").asText(), begins);
        if (unit == null) {
            return rejected("credit_amount", "unit_unknown");
        }
        String changed = moment(record.path("changed").asText());
        if (changed == null) {
            return rejected("changed_at", "not_a_moment");
        }
        String iri = "https://registry.example/programmes/" + record.path("programmeId").asText();
        ObjectNode made = NODES.objectNode();
        made.set("@context", context);
        made.put("id", iri).put("type", "Qualification");
        made.set("title", title);
        made.putObject("description").set("en", record.path("summary"));
        ArrayNode areas = made.putArray("thematicArea");
        for (JsonNode code : record.path("fields")) {
            areas.add(fields.computeIfAbsent(code.asText(), one -> snb("isced-f", SNB + "isced-f/" + one)));
        }
        made.putArray("language").add(languages.get(record.path("language").asText()));
        ArrayNode outcomes = made.putArray("learningOutcome");
        int place = 1;
        for (JsonNode outcome : record.path("outcomes")) {
            ObjectNode one = node(iri + "#outcome/" + place++, "LearningOutcome");
            one.putObject("title").set("en", outcome.path("text"));
            outcomes.add(one);
        }
        ObjectNode credit = node(iri + "#credit", "CreditPoint");
        credit.set("framework", ects);
        BigDecimal points = earned.path("value").decimalValue().multiply(unit.ects).setScale(2, RoundingMode.HALF_UP).stripTrailingZeros();
        credit.put("point", points.toPlainString());
        made.set("creditPoint", credit);
        made.put("volumeOfLearning", "PT" + earned.path("hours").asLong() + "H");
        made.put("maximumDuration", "P" + record.path("months").asInt() + "M");
        made.set("homepage", node(iri + "#homepage", "WebResource").put("contentUrl", record.path("link").asText()));
        made.set("mode", modes.get(record.path("form").asText()));
        made.set("learningSetting", formal);
        String unitName = earned.path("unit").asText();
        if (!unitName.equals("ECTS")) {
            ObjectNode note = node(iri + "#note/1", "Note");
            note.putObject("noteLiteral").put("en", earned.path("value").decimalValue().toPlainString() + " " + unitName);
            made.putArray("additionalNote").add(note);
        }
        made.set("eqfLevel", level.eqf);
        made.set("nqfLevel", level.nqf);
        made.set("identifier", node(iri + "#identifier", "Identifier").put("notation", record.path("code").asText()));
        ObjectNode awarding = node(iri + "#awarding", "AwardingOpportunity");
        awarding.set("awardingBody", body(record.path("body"), country, iri + "#awarding-body"));
        awarding.set("temporal", node(iri + "#validity", "PeriodOfTime").put("startDate", begins + "T00:00:00Z"));
        awarding.put("learningAchievementSpecification", iri);
        made.set("awardingOpportunity", awarding);
        made.put("modified", changed);
        byte[] provenance = withProvenance ? provenance(record.path("form").asText(), level, unit) : null;
        return new Result(true, mapper.writeValueAsBytes(made), iri, provenance);
    }

    /** The table rows behind a document, as the gateway writes them into a header. */
    private byte[] provenance(String form, Level level, Credit unit) throws IOException {
        ObjectNode made = NODES.objectNode().put("connector", "bench-peers").put("stream", "programmes")
                .put("config_digest", configDigest).put("tables_digest", tablesDigest);
        made.putArray("lookups").add(lookups.get(form)).add(level.lookup).add(unit.lookup);
        return mapper.writeValueAsBytes(made);
    }

    private ObjectNode body(JsonNode body, String country, String id) {
        ObjectNode made = node(id, "Organisation");
        made.putObject("legalName").set("lv", body.path("name"));
        ArrayNode identifiers = made.putArray("identifier");
        for (String scheme : List.of("pic", "schac")) {
            identifiers.add(node(id + "/" + scheme, "Identifier").put("notation", body.path(scheme).asText()).put("schemeName", scheme));
        }
        ObjectNode location = node(id + "/location", "Location");
        ObjectNode address = node(id + "/address", "Address");
        address.set("countryCode", countries.get(country));
        location.set("address", address);
        made.set("location", location);
        return made;
    }

    private Level level(String key, String on) {
        for (Level row : levels.getOrDefault(key, List.of())) {
            if (row.from.compareTo(on) <= 0 && on.compareTo(row.until) <= 0) {
                return row;
            }
        }
        return null;
    }

    /** The one unit that held on the day; two of the same name are no answer. */
    private Credit unit(String key, String on) {
        Credit found = null;
        for (Credit row : credits.getOrDefault(key, List.of())) {
            if (row.from.compareTo(on) <= 0 && on.compareTo(row.until) <= 0) {
                if (found != null) {
                    return null;
                }
                found = row;
            }
        }
        return found;
    }

    private static String day(String text) {
        try {
            return LocalDate.of(Integer.parseInt(text.substring(6)), Integer.parseInt(text.substring(3, 5)),
                    Integer.parseInt(text.substring(0, 2))).toString();
        } catch (DateTimeException | NumberFormatException | StringIndexOutOfBoundsException error) {
            return null;
        }
    }

    private static String moment(String text) {
        try {
            return OffsetDateTime.parse(text).withOffsetSameInstant(ZoneOffset.UTC).format(SECONDS);
        } catch (DateTimeException error) {
            return null;
        }
    }
}
