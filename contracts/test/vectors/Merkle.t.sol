// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vectors} from "../support/Vectors.sol";
import {Checks, vm} from "../support/Vm.sol";

/// @notice The trees behind a claim and a proposal. No contract opens one yet: this holds the vectors to what a contract will
/// compute, with nothing but abi.encode and keccak256.
contract MerkleVectorsTest is Checks {
    struct Sum {
        bytes32 hash;
        uint256 weight;
    }

    bytes32 private constant EMPTY = keccak256("openledger.empty-leaf/1");

    Vectors private _vectors = new Vectors("merkle");
    string private _in;
    string private _out;

    function test_receipt_leaves_and_roots() public {
        for (uint256 i = 0; _case("receipt_leaf_hash", i); ++i) {
            eq("leaf", _receiptLeaf(_in, _number(_in, "index")), _vectors.word(_out));
        }
        for (uint256 i = 0; _case("receipt_root", i); ++i) {
            string memory list = string.concat(_in, ".leaves");
            Sum[] memory leaves = new Sum[](_vectors.count(list));
            for (uint256 l = 0; l < leaves.length; ++l) leaves[l].hash = _receiptLeaf(_at(list, l), l);
            eq("root", _rootOf(leaves, false), _vectors.word(_out));
        }
    }

    function test_attribution_leaves_and_roots() public {
        for (uint256 i = 0; _case("attribution_leaf_hash", i); ++i) {
            eq("leaf", _attributionLeaf(_in, _number(_in, "index")).hash, _vectors.word(_out));
        }
        for (uint256 i = 0; _case("attribution_root", i); ++i) {
            string memory list = string.concat(_in, ".leaves");
            Sum[] memory leaves = new Sum[](_vectors.count(list));
            for (uint256 l = 0; l < leaves.length; ++l) leaves[l] = _attributionLeaf(_at(list, l), l);
            eq("root", _rootOf(leaves, true), _vectors.word(_out));
        }
    }

    function test_proofs() public {
        for (uint256 i = 0; _case("check_proof", i); ++i) {
            bytes32[] memory path = _vectors.words(string.concat(_in, ".proof"));
            Sum[] memory proof = new Sum[](path.length);
            for (uint256 p = 0; p < path.length; ++p) proof[p].hash = path[p];
            (bool isGood,,) = _follow(proof, Sum({hash: _word(_in, "leaf"), weight: 0}), false);
            yes("a proof holds, or is refused", isGood == _vectors.has(_out));
        }
    }

    function test_sum_proofs() public {
        for (uint256 i = 0; _case("check_sum_proof", i); ++i) {
            string memory list = string.concat(_in, ".proof");
            Sum[] memory proof = new Sum[](_vectors.count(list));
            for (uint256 p = 0; p < proof.length; ++p) {
                proof[p] = Sum({hash: _word(_at(list, p), "hash"), weight: _number(_at(list, p), "weight")});
            }
            Sum memory leaf = Sum({hash: _word(_in, "leaf"), weight: _number(_in, "weight")});
            (bool isGood, uint256 before, uint256 total) = _follow(proof, leaf, true);
            yes("a proof holds, or is refused", isGood == _vectors.has(_out));
            if (!isGood) continue;
            eq("before", before, _number(_out, "before"));
            eq("total", total, _number(_out, "total"));
        }
    }

    // ---- trees ----

    function _receiptLeaf(string memory at, uint256 index) private view returns (bytes32) {
        bytes memory place = abi.encode(
            keccak256("openledger.receipt-leaf/1"), _vectors.account(string.concat(_in, ".node")), _seq(), index
        );
        bytes memory what = abi.encode(
            _word(at, "channel_id"),
            _number(at, "seq"),
            _word(at, "adapter_id"),
            _number(at, "amount_wei"),
            _number(at, "cumulative_wei"),
            _word(at, "receipt_digest"),
            _word(at, "shares_hash"),
            _word(at, "nonce")
        );
        return _twice(bytes.concat(place, what));
    }

    function _attributionLeaf(string memory at, uint256 index) private view returns (Sum memory leaf) {
        leaf.weight = _number(at, "weight");
        bytes memory place = abi.encode(
            keccak256("openledger.attribution-leaf/1"), _vectors.account(string.concat(_in, ".node")), _seq(), index
        );
        address account = _vectors.account(string.concat(at, ".account"));
        bytes memory what = abi.encode(_number(at, "pot"), account, _number(at, "receipt_index"), leaf.weight);
        leaf.hash = _twice(bytes.concat(place, what));
    }

    function _rootOf(Sum[] memory level, bool withSums) private pure returns (bytes32) {
        if (level.length == 0) return 0;
        uint256 width = 2 ** _depthOf(level.length);
        Sum[] memory nodes = new Sum[](width);
        for (uint256 i = 0; i < width; ++i) nodes[i] = i < level.length ? level[i] : Sum({hash: EMPTY, weight: 0});
        for (; width > 1; width /= 2) {
            for (uint256 i = 0; i < width / 2; ++i) nodes[i] = _parent(nodes[2 * i], nodes[2 * i + 1], withSums);
        }
        return nodes[0].hash;
    }

    function _follow(Sum[] memory proof, Sum memory node, bool withSums)
        private
        view
        returns (bool isGood, uint256 before, uint256 total)
    {
        (uint256 count, uint256 index) = (_number(_in, "count"), _number(_in, "index"));
        if (index >= count || proof.length != _depthOf(count)) return (false, 0, 0);
        for (uint256 height = 0; height < proof.length; ++height) {
            bool isRight = index >> height & 1 == 1;
            if (proof[height].weight > type(uint256).max - node.weight) return (false, 0, 0);
            if (isRight) before += proof[height].weight;
            node = isRight ? _parent(proof[height], node, withSums) : _parent(node, proof[height], withSums);
        }
        return (node.hash == _word(_in, "root"), before, node.weight);
    }

    function _parent(Sum memory left, Sum memory right, bool withSums) private pure returns (Sum memory parent) {
        if (!withSums) return Sum({hash: keccak256(abi.encode(left.hash, right.hash)), weight: 0});
        parent.hash = keccak256(abi.encode(left.hash, right.hash, left.weight, right.weight));
        parent.weight = left.weight + right.weight;
    }

    function _depthOf(uint256 count) private pure returns (uint256 depth) {
        while (2 ** depth < count) ++depth;
    }

    function _twice(bytes memory leaf) private pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(leaf)));
    }

    // ---- reading ----

    function _case(string memory rule, uint256 i) private returns (bool) {
        string memory at = _at(string.concat(".rules.", rule), i);
        (_in, _out) = (string.concat(at, ".input"), string.concat(at, ".output"));
        bool isThere = _vectors.has(at);
        yes(string.concat(rule, " has cases"), isThere || i > 0);
        return isThere;
    }

    function _seq() private view returns (uint256) {
        return _number(_in, "claim_seq");
    }

    function _at(string memory list, uint256 i) private pure returns (string memory) {
        return string.concat(list, "[", vm.toString(i), "]");
    }

    function _word(string memory at, string memory key) private view returns (bytes32) {
        return _vectors.word(string.concat(at, ".", key));
    }

    function _number(string memory at, string memory key) private view returns (uint256) {
        return _vectors.number(string.concat(at, ".", key));
    }
}
