import asyncio, json
from aiokafka import AIOKafkaConsumer


async def main():
    consumer = AIOKafkaConsumer(
        "europass.credentials.v1",
        bootstrap_servers="localhost:9092",
        group_id="my-service",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    async with consumer:
        async for record in consumer:
            document = json.loads(record.value) if record.value else None  # None: deleted
            title = document["displayParameter"]["title"] if document else None
            print(record.key.decode(), title, dict(record.headers)["ce_type"].decode(), flush=True)


asyncio.run(main())
