// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IDatanetRegistry} from "../../src/interfaces/IDatanetRegistry.sol";
import {IModelRegistry, Terms} from "../../src/interfaces/IModelRegistry.sol";
import {Bounds, IParams, Values, Windows} from "../../src/interfaces/IParams.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";
import {ClaimRecord, EpochClaim, Item, Part, Payout} from "../../src/interfaces/Types.sol";
import {ItemsHash} from "../../src/lib/ItemsHash.sol";
import {IChannels, IStaking} from "../support/Contracts.sol";
import {Vectors} from "../support/Vectors.sol";
import {vm, Vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice Both registries with the ids that the vectors have; real ones choose theirs by hashing.
contract Registries {
    struct Datanet {
        address owner;
        uint32 ownerPpm;
        address treasury;
    }

    mapping(bytes32 => Terms) private _terms;
    mapping(bytes32 => Datanet) private _datanets;

    function setAdapter(bytes32 id, address owner, uint32 royaltyPpm) external {
        (_terms[id].owner, _terms[id].royaltyPpm) = (owner, royaltyPpm);
    }

    function addDatanet(bytes32 id, bytes32 datanetId, uint32 weightPpm) external {
        _terms[id].datanetIds.push(datanetId);
        _terms[id].weightsPpm.push(weightPpm);
    }

    function setDatanet(bytes32 id, address owner, uint32 ownerPpm, address treasury) external {
        _datanets[id] = Datanet({owner: owner, ownerPpm: ownerPpm, treasury: treasury});
    }

    function termsOf(bytes32 id) external view returns (Terms memory) {
        if (_terms[id].owner == address(0)) revert IModelRegistry.UnknownAdapter(id);
        return _terms[id];
    }

    function ownerTermsOf(bytes32 id) external view returns (address owner, uint32 ownerPpm) {
        return (_datanets[id].owner, _datanets[id].ownerPpm);
    }

    function datanetOf(bytes32 id) external view returns (address, address, uint32, uint32) {
        return (_datanets[id].owner, _datanets[id].treasury, _datanets[id].ownerPpm, 1);
    }
}

/// @notice Claims, records, payouts and credits of the vectors, computed by the contracts at the addresses, on the chain and
/// at the time that they are for.
contract SettlementVectorsTest is World {
    Vectors private _vectors = new Vectors("settlement");
    Registries private _registries;
    string private _in;
    string private _out;
    uint256 private _clean;

    /// @dev No world: each case makes its own.
    function setUp() public override {}

    function test_items_hashes() public {
        for (uint256 i = 0; _case("items_hash", i); ++i) {
            eq("items", this.hashOf(_words("adapters"), _itemsOf()), _vectors.word(_out));
        }
    }

    function test_which_items_are_skipped() public {
        for (uint256 i = 0; _case("skip_codes", i); ++i) {
            _stage(false);
            uint256[] memory codes = _vectors.numbers(_out);
            vm.recordLogs();
            _claimIt(false);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            uint256 at = 0;
            for (uint256 c = 0; c < codes.length; ++c) {
                if (codes[c] != 0) eq("code", abi.decode(logs[at++].data, (uint8)), codes[c]);
            }
            eq("and no more", logs.length, at + 1);
        }
    }

    function test_records_of_claims() public {
        for (uint256 i = 0; _case("compute_claim", i); ++i) {
            bool isError = _isError();
            _stage(true);
            _claimIt(isError);
            if (isError) continue;
            eq("record", channels.claimOf(node, 7), _vectors.word(string.concat(_out, ".record_hash")));
        }
    }

    function test_payouts_hashes() public {
        for (uint256 i = 0; _case("payouts_hash", i); ++i) {
            eq("payouts", keccak256(abi.encode(_payoutsAt(_in))), _vectors.word(_out));
        }
    }

    function test_what_a_final_claim_pays() public {
        for (uint256 i = 0; _case("payout_amounts", i); ++i) {
            bool isError = _isError();
            ClaimRecord memory record = _claimedIt();
            Payout[] memory payouts = _payoutsAt(string.concat(_in, ".payouts"));
            bytes32 root = payouts.length == 0 ? bytes32(0) : bytes32("root");
            if (isError) vm.expectRevert();
            vm.prank(node);
            rewards.propose(record, root, uint32(payouts.length), payouts, "");
            if (isError) continue;
            if (!_vectors.flag(string.concat(_in, ".has_stakers"))) _unbondAll();
            vm.warp(block.timestamp + params.windows().window);
            vm.recordLogs();
            rewards.finalize(record, payouts);
            _areCredits();
        }
    }

    function test_what_a_late_claim_pays() public {
        for (uint256 i = 0; _case("late_amounts", i); ++i) {
            ClaimRecord memory record = _claimedIt();
            vm.warp(block.timestamp + params.windows().propose + 1);
            vm.recordLogs();
            rewards.finalizeLate(record);
            _areCredits();
        }
    }

    function hashOf(bytes32[] calldata adapters, Item[] calldata items) external pure returns (bytes32 hash) {
        hash = ItemsHash.hashOf(adapters, items);
        eq("encoded", hash, keccak256(abi.encode(adapters, items)));
    }

    // ---- a case's world ----

    function _stage(bool hasTerms) private {
        vm.chainId(_number("chain_id"));
        vm.warp(_number("claimed_at_s"));
        (node, treasury) = (_account("node"), address(0xBEEF));
        if (_vectors.has(string.concat(_in, ".protocol_treasury"))) treasury = _account("protocol_treasury");
        _registries = new Registries();
        (models, datanets) = (IModelRegistry(address(_registries)), IDatanetRegistry(address(_registries)));
        token = _token();
        params = IParams(_new("Params", abi.encode(governor, _values(hasTerms), _bounds(), _windows())));
        staking = IStaking(_new("NodeStaking", abi.encode(token, params)));
        bytes memory arguments = abi.encode(token, params, staking, _registries, _registries);
        channels = IChannels(_newAt("PaymentChannels", arguments, _account("contract")));
        arguments = abi.encode(token, params, channels, staking, _registries, treasury);
        rewards = IAttributionRewards(_new("AttributionRewards", arguments));
        staking.wire(address(rewards));
        channels.wire(address(rewards));
        if (hasTerms) _fillRegistries();
        else _fillAdapters();
        _bondOneWei();
        _openAll();
        for (uint256 seq = 0; seq < _number("seq"); ++seq) _claimNothing();
    }

    /// @dev A constructor that runs at a chosen address.
    function _newAt(string memory name, bytes memory arguments, address at) private returns (address) {
        bytes memory code = abi.encodePacked(vm.getCode(string.concat(name, ".sol:", name)), arguments);
        vm.etch(at, code);
        (bool success, bytes memory runtime) = at.call("");
        yes("deployed", success);
        vm.etch(at, runtime);
        return at;
    }

    function _bondOneWei() private {
        token.transfer(node, 1);
        vm.startPrank(node);
        token.approve(address(staking), 1);
        staking.bond(1);
        if (_vectors.has(string.concat(_in, ".node_payout"))) staking.setPayout(_account("node_payout"));
        vm.stopPrank();
    }

    function _unbondAll() private {
        vm.prank(node);
        staking.unbond(1);
    }

    function _openAll() private {
        Item[] memory items = _itemsOf();
        uint128 deposit = uint128(_number("deposit_wei"));
        for (uint256 i = 0; i < items.length; ++i) {
            _fund(items[i].config.payer);
            vm.prank(items[i].config.payer);
            try channels.open(items[i].config, deposit) {} catch {}
        }
    }

    /// @dev The case's claim is not the node's first.
    function _claimNothing() private {
        Item[] memory items = new Item[](1);
        EpochClaim memory epochClaim = _epochClaim(_none(), items);
        vm.prank(node);
        channels.claim(epochClaim, _none(), items, "");
    }

    function _claimIt(bool isRefused) private {
        bytes32[] memory adapters = _words("adapters");
        Item[] memory items = _itemsOf();
        EpochClaim memory epochClaim = EpochClaim({
            node: node,
            seq: uint64(_number("seq")),
            epoch: uint64(_number("epoch")),
            itemsHash: keccak256(abi.encode(adapters, items)),
            receiptsRoot: _vectors.word(string.concat(_in, ".receipts_root")),
            count: uint32(_number("count"))
        });
        if (isRefused) vm.expectRevert();
        vm.prank(node);
        channels.claim(epochClaim, adapters, items, "");
    }

    function _claimedIt() private returns (ClaimRecord memory) {
        _stage(true);
        vm.recordLogs();
        _claimIt(false);
        return _lastRecord();
    }

    function _areCredits() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 found = 0;
        for (uint256 l = 0; l < logs.length; ++l) {
            if (logs[l].topics[0] != IAttributionRewards.Credited.selector) continue;
            string memory at = string.concat(_out, "[", vm.toString(found++), "].");
            (, uint128 amount, uint8 role) = abi.decode(logs[l].data, (uint64, uint128, uint8));
            eq("account", address(uint160(uint256(logs[l].topics[1]))), _vectors.account(string.concat(at, "account")));
            eq("amount", amount, _vectors.number(string.concat(at, "amount_wei")));
            eq("role", role, _vectors.number(string.concat(at, "role")));
        }
        eq("credits", found, _vectors.count(_out));
    }

    // ---- reading ----

    /// @dev Every case starts with a clean chain, since all are for the same address.
    function _case(string memory rule, uint256 i) private returns (bool) {
        string memory at = string.concat(".rules.", rule, "[", vm.toString(i), "]");
        uint256 clean = i == 0 ? vm.snapshotState() : _clean;
        vm.revertToState(clean);
        _clean = clean;
        (_in, _out) = (string.concat(at, ".input"), string.concat(at, ".output"));
        bool isThere = _vectors.has(at);
        yes(string.concat(rule, " has cases"), isThere || i > 0);
        return isThere;
    }

    function _isError() private view returns (bool) {
        return !_vectors.has(_out);
    }

    function _itemsOf() private view returns (Item[] memory items) {
        items = new Item[](_vectors.count(string.concat(_in, ".items")));
        for (uint256 i = 0; i < items.length; ++i) {
            string memory at = string.concat(_in, ".items[", vm.toString(i), "].");
            items[i].config.payer = _vectors.account(string.concat(at, "payer"));
            items[i].config.authorizer = _vectors.account(string.concat(at, "authorizer"));
            items[i].config.node = _vectors.account(string.concat(at, "node"));
            items[i].config.withdrawDelay = uint64(_vectors.number(string.concat(at, "withdraw_delay_s")));
            items[i].config.salt = _vectors.word(string.concat(at, "salt"));
            items[i].maxClaimable = uint128(_vectors.number(string.concat(at, "max_claimable_wei")));
            items[i].signature = _vectors.raw(string.concat(at, "signature"));
            items[i].from = uint128(_vectors.number(string.concat(at, "from_wei")));
            items[i].to = uint128(_vectors.number(string.concat(at, "to_wei")));
        }
        _readParts(items);
    }

    /// @dev A part names its item by number, in order.
    function _readParts(Item[] memory items) private view {
        uint256 num = _vectors.count(string.concat(_in, ".parts"));
        for (uint256 p = 0; p < num; ++p) {
            string memory at = string.concat(_in, ".parts[", vm.toString(p), "].");
            Item memory item = items[_vectors.number(string.concat(at, "item"))];
            Part[] memory longer = new Part[](item.parts.length + 1);
            for (uint256 i = 0; i < item.parts.length; ++i) longer[i] = item.parts[i];
            longer[item.parts.length].adapter = uint16(_vectors.number(string.concat(at, "adapter")));
            longer[item.parts.length].amount = uint128(_vectors.number(string.concat(at, "amount_wei")));
            item.parts = longer;
        }
    }

    function _payoutsAt(string memory list) private view returns (Payout[] memory payouts) {
        payouts = new Payout[](_vectors.count(list));
        for (uint256 p = 0; p < payouts.length; ++p) {
            string memory at = string.concat(list, "[", vm.toString(p), "].");
            payouts[p].pot = uint16(_vectors.number(string.concat(at, "pot")));
            payouts[p].account = _vectors.account(string.concat(at, "account"));
            payouts[p].weight = _vectors.number(string.concat(at, "weight"));
        }
    }

    function _fillRegistries() private {
        uint256 num = _vectors.count(string.concat(_in, ".adapter_terms"));
        for (uint256 a = 0; a < num; ++a) {
            string memory at = string.concat(_in, ".adapter_terms[", vm.toString(a), "].");
            bytes32 id = _vectors.word(string.concat(at, "adapter_id"));
            address owner = _vectors.account(string.concat(at, "owner"));
            _registries.setAdapter(id, owner, uint32(_vectors.number(string.concat(at, "royalty_ppm"))));
        }
        num = _vectors.count(string.concat(_in, ".adapter_datanets"));
        for (uint256 d = 0; d < num; ++d) {
            string memory at = string.concat(_in, ".adapter_datanets[", vm.toString(d), "].");
            bytes32 id = _vectors.word(string.concat(at, "adapter_id"));
            bytes32 datanetId = _vectors.word(string.concat(at, "datanet_id"));
            _registries.addDatanet(id, datanetId, uint32(_vectors.number(string.concat(at, "weight_ppm"))));
        }
        num = _vectors.count(string.concat(_in, ".datanet_terms"));
        for (uint256 d = 0; d < num; ++d) {
            string memory at = string.concat(_in, ".datanet_terms[", vm.toString(d), "].");
            bytes32 id = _vectors.word(string.concat(at, "datanet_id"));
            address owner = _vectors.account(string.concat(at, "owner"));
            uint32 ownerPpm = uint32(_vectors.number(string.concat(at, "owner_ppm")));
            _registries.setDatanet(id, owner, ownerPpm, _vectors.account(string.concat(at, "treasury")));
        }
    }

    /// @dev For cases that say nothing of terms: each adapter is somebody's.
    function _fillAdapters() private {
        bytes32[] memory adapters = _words("adapters");
        for (uint256 a = 0; a < adapters.length; ++a) _registries.setAdapter(adapters[a], maker, 0);
    }

    function _values(bool hasTerms) private view returns (Values memory v) {
        v = values();
        (v.minStake, v.minDeposit, v.adapterBond) = (1, 1, 1);
        if (!hasTerms) return v;
        v.protocolPpm = uint32(_number("protocol_ppm"));
        v.stakersPpm = uint32(_number("stakers_ppm"));
        v.dataPpm = uint32(_number("data_ppm"));
    }

    function _bounds() private pure returns (Bounds memory) {
        return bounds();
    }

    /// @dev Those of the development chain, whose epoch is 30 s.
    function _windows() private pure returns (Windows memory) {
        return Windows({
            epoch: 30,
            propose: 30,
            window: 10,
            response: 10,
            pauseMax: 30,
            unbonding: 90,
            withdrawDelayMin: 10,
            withdrawDelayMax: 3_600,
            withdrawPeriod: 7 days
        });
    }

    function _words(string memory key) private view returns (bytes32[] memory) {
        return _vectors.words(string.concat(_in, ".", key));
    }

    function _number(string memory key) private view returns (uint256) {
        return _vectors.number(string.concat(_in, ".", key));
    }

    function _account(string memory key) private view returns (address) {
        return _vectors.account(string.concat(_in, ".", key));
    }
}
